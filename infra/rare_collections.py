"""Python's search for dead cycles, made rare where there are hardly any."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Objects that are made before Python looks for dead cycles among the young ones, and how much
#: more rarely among the older ones.
_COLLECTION_THRESHOLDS: Final = (200_000, 50, 100)


@contextmanager
def rare_collections(
    thresholds: tuple[int, int, int] = _COLLECTION_THRESHOLDS,
) -> Iterator[None]:
    """Let Python look for dead cycles seldom while the log is gone through.

    Events come and go by the hundred thousand and are in no cycles; looking for some among them
    at Python's own pace takes as long as reading them.
    """
    before = gc.get_threshold()
    gc.set_threshold(*thresholds)
    try:
        yield
    finally:
        gc.set_threshold(*before)
