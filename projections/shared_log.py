"""One reading of the log for several who all go through it: each page is read and decoded once."""

from __future__ import annotations

from threading import Condition
from typing import Final

from creditledger.projections.runner import Log, LogPage

#: How far the fastest reader may be ahead of the slowest: more would only fill the memory.
_PAGES_AHEAD: Final = 3


class ReadingEnded(Exception):
    """The shared reading was ended while somebody was still at it."""


class SharedLog:
    """Hands the pages of a log to readers in threads of their own, in step with the slowest."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._changed = Condition()
        #: By where they begin and how long they may be; None is one that is being read.
        self._pages: dict[tuple[int, int], LogPage | None] = {}
        self._places: dict[Reader, int] = {}
        self._ended = False

    def reader(self) -> Reader:
        """The log for one more reader, who stands before the first event until it reads."""
        reader = Reader(self)
        with self._changed:
            self._places[reader] = 0
        return reader

    def end(self) -> None:
        """Let every reader's next page be a ReadingEnded."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def head(self) -> int:
        """The newest position."""
        return self._log.head()

    def leave(self, reader: Reader) -> None:
        """Wait for this reader no more."""
        with self._changed:
            self._places.pop(reader, None)
            self._let_go()

    def page(self, reader: Reader, after: int, limit: int) -> LogPage:
        """The page past a position, read by whoever comes first. Raises ReadingEnded."""
        key = (after, limit)
        with self._changed:
            joined = reader in self._places
            if joined:
                self._places[reader] = after
                self._let_go()
                while not self._ended and self._must_wait(key):
                    self._changed.wait()
            if self._ended:
                raise ReadingEnded
            if joined:
                page = self._pages.get(key)
                if page is not None:
                    return page
                self._pages[key] = None
        return self._read(key) if joined else self._log.read(after, limit)

    def _read(self, key: tuple[int, int]) -> LogPage:
        page = None
        try:
            page = self._log.read(*key)
        finally:
            with self._changed:
                # An end of the log is not kept: it may have grown when it is asked for again.
                if page is None or page.position == key[0]:
                    del self._pages[key]
                else:
                    self._pages[key] = page
                self._let_go()
        return page

    def _must_wait(self, key: tuple[int, int]) -> bool:
        """Somebody is reading this very page, or there are enough that the slowest has not had."""
        if key in self._pages:
            return self._pages[key] is None
        return key[0] > min(self._places.values()) and len(self._pages) >= _PAGES_AHEAD

    def _let_go(self) -> None:
        """Forget what all have had."""
        slowest = min(self._places.values(), default=None)
        for key, page in list(self._pages.items()):
            if page is not None and (slowest is None or key[0] < slowest):
                del self._pages[key]
        self._changed.notify_all()


class Reader:
    """The log as one of several reads it; once it has left, by itself."""

    def __init__(self, shared: SharedLog) -> None:
        self._shared = shared

    def head(self) -> int:
        """The newest position."""
        return self._shared.head()

    def read(self, after: int, limit: int) -> LogPage:
        """The next events past a position. Raises ReadingEnded."""
        return self._shared.page(self, after, limit)

    def leave(self) -> None:
        """Let the others go on without this one."""
        self._shared.leave(self)
