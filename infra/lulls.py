"""Lulls: when the writer waits, for commands or for PostgreSQL.

Python runs one thread at a time. What others compute while the writer decides makes it slower, and
then nobody has anything to do while it waits: so much work of others is left for its lulls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")

#: How long a lull is waited for: longer than a thousand commands take to be decided.
_WAIT_SECONDS_MAX: Final = 0.2


class Lulls:
    """The lulls of one writer: its thread says when they are, any other thread may wait for one."""

    def __init__(self) -> None:
        self._lull = threading.Event()
        self._lull.set()

    @property
    def lasting(self) -> bool:
        """Whether the writer waits now."""
        return self._lull.is_set()

    def begin(self) -> None:
        """The writer has nothing to do."""
        self._lull.set()

    def end(self) -> None:
        """The writer goes to work."""
        self._lull.clear()

    @contextmanager
    def during(self) -> Iterator[None]:
        """The writer waits for something in this block, and then goes on with its work."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def run(self, work: Callable[[], T]) -> T:
        """Do some work in the next lull, or when it has waited long enough for one."""
        self._lull.wait(_WAIT_SECONDS_MAX)
        return work()
