"""Turns: how ledgers that write to one log keep out of each other's way.

Who saves must have seen what it rests on, or it is a conflict and decided again; that is enough
for a ledger that writes alone. Where others write, too, each waits for its turn, learns what was
written since its last one, decides and saves, so that nobody is first in between. Nothing but time
depends on whose turn it is: every save is checked, by the end up to which its ledger has followed
the log, and stream by stream where the log has grown past that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final
from uuid import UUID

from creditledger.domain.books import Books
from creditledger.domain.events import Event
from creditledger.domain.store import LedgerStore, LogEnd, News

#: After so many turns without news of others, saving without a turn is tried again.
QUIET_TURNS: Final = 8


class Turns:
    """The turns of one ledger, and how far it has followed the log. For one thread.

    `let_go` is called where the log has become another: nothing at hand is of it.
    """

    def __init__(self, store: LedgerStore, books: Books, *, let_go: Callable[[], None]) -> None:
        self._store = store
        self._books = books
        self._let_go = let_go
        #: Up to where what is at hand is known to follow the log.
        self._seen: LogEnd | None = None
        #: Turns since there was news.
        self._quiet = 0
        self._turn = ExitStack()
        #: Whether the turn that was taken still stands: a save uses it up.
        self._taken = False

    @property
    def seen(self) -> LogEnd | None:
        """The end up to which what is at hand follows the log; None where it never did."""
        return self._seen

    @contextmanager
    def ready(self, ahead: Callable[[], Collection[UUID]] = tuple) -> Iterator[None]:
        """Where others write, too, wait for a turn, and learn what they wrote.

        The streams that will be needed, as far as that is known `ahead`, are loaded before: nobody
        has to wait for that. The turn ends with the block, which may hold blocks of the same kind.
        Raises Unavailable.
        """
        with self._turn:
            if self._quiet < QUIET_TURNS and not self._taken:
                # What is wrong with one of them is told to whom it concerns, when it is decided.
                with suppress(Exception):
                    self._books.fetch(ahead())
                self.learn(self.take())
            try:
                yield
            finally:
                self._taken = False

    def take(self) -> News:
        """Wait until nobody else can save, and return what they did, to be learned.

        Raises Unavailable.
        """
        self.end()
        news = self._turn.enter_context(self._store.turn(self._seen, self._books.at_hand))
        self._quiet = self._quiet + 1 if news.end == self._seen else 0
        self._taken = True
        return news

    def learn(self, news: News) -> None:
        """Let what others did be known here, too."""
        if news.another:
            self._let_go()
        self._books.learn(news)
        self._seen = news.end

    def end(self) -> None:
        """Let the others have their turns."""
        self._taken = False
        self._turn.close()

    def used(self) -> None:
        """A save is tried, with which the turn ends, where there is one."""
        self._taken = False

    def saved(self, base: int, events: Sequence[Event]) -> None:
        """These events were saved after the position `base`."""
        if self._seen is None or base != self._seen.position:
            self._quiet = 0
        elif events:
            self._seen = LogEnd(base + len(events), events[-1].recorded_at)
