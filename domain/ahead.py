"""Ahead: what a ledger decides while it waits for its turn, so that nobody waits for that.

What others wrote meanwhile shows as news when the turn comes. Where it does not concern what was
decided, that stands; otherwise it is decided again, from the first command on that is affected.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from creditledger.domain.case import Case, first_affected
from creditledger.domain.receipt import Batch, Wish
from creditledger.domain.store import News

#: What was decided longer ago than this is decided again: its moment would lie too far back.
AHEAD_MAX: Final = timedelta(seconds=1)

#: For so many turns, at most, nothing is decided ahead, where news undoes it each time.
PAUSE_MAX: Final = 64


class Ahead:
    """The cases that were decided ahead of one turn, and whether that pays. For one thread."""

    def __init__(self) -> None:
        self._cases: Sequence[Case] = ()
        self._decided_at = datetime.min.replace(tzinfo=UTC)
        #: Turns until it is tried again, and how many they will be when news undoes it next.
        self._pause = 0
        self._next_pause = 1

    @property
    def cases(self) -> Sequence[Case]:
        """What was decided and not taken yet."""
        return self._cases

    def pays(self) -> bool:
        """Whether to decide ahead of the turn that is waited for now."""
        if self._pause == 0:
            return True
        self._pause -= 1
        return False

    def keep(self, cases: Sequence[Case], decided_at: datetime) -> None:
        """Keep these for the turn."""
        self._cases, self._decided_at = cases, decided_at

    def undone(self, news: News, now: datetime) -> Sequence[Case]:
        """The cases that are to be decided again, now that the turn has come with its news."""
        if not self._cases:
            return ()
        late = now - self._decided_at > AHEAD_MAX
        changed = None if late else news.changed
        first = 0 if changed is None else first_affected(self._cases, changed)
        if first == len(self._cases):
            self._next_pause = 1
        else:
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, PAUSE_MAX)
        return self._cases[first:]

    def take(self, items: Sequence[Wish | Batch]) -> Sequence[Case] | None:
        """The cases of the first of these items; None where they were not decided ahead.

        They are not kept any longer, whether they are these items' or not.
        """
        cases, self._cases = self._cases, ()
        if len(cases) > len(items):
            return None
        same = all(case.item is item for case, item in zip(cases, items, strict=False))
        return cases if same else None
