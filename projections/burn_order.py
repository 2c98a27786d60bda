"""The order in which an account's lots are spent (domain/README.md, 4.1), apart from the domain."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from heapq import heappop, heappush
from typing import Final

#: Later than the last moment in UTC, so that it sorts after every expiry: among equals, a lot
#: without one is spent last.
_NEVER: Final = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))

_Key = tuple[int, datetime, datetime, int]


@dataclass(slots=True)
class LotSums:
    """One grant: `left` counts what is free and what is held together.

    `number` is the version of its event, so it counts grants in their order.
    """

    grant_id: str
    number: int
    priority: int
    granted: int
    starts: datetime
    ends: datetime | None
    left: int
    held: int = 0
    debt: int = 0
    revoked: int = 0
    written_off: int = 0

    @property
    def free(self) -> int:
        """What is left and not held."""
        return self.left - self.held

    def usable(self, now: datetime) -> bool:
        """Whether it has started and not ended."""
        return self.starts <= now and (self.ends is None or now < self.ends)

    @property
    def in_range(self) -> bool:
        """Whether nothing of it is less than nothing."""
        return self.left >= self.held >= 0 <= self.debt and self.written_off >= 0

    @property
    def ends_or_never(self) -> datetime:
        """When it ends, past all times where it does not."""
        return self.ends or _NEVER

    def burn_key(self) -> _Key:
        """Priority, expiry, start, grant."""
        return (self.priority, self.ends or _NEVER, self.starts, self.number)


@dataclass(slots=True)
class BurnOrder:
    """Lots that may have something free, first the one that is to be spent first.

    What is asked for often costs next to nothing; every change costs the logarithm of their
    number. Lots that were emptied meanwhile, or whose place has changed, are passed over when
    they come to the front.
    """

    _started: list[tuple[_Key, LotSums]] = field(default_factory=list)
    _starting: list[tuple[datetime, int, LotSums]] = field(default_factory=list)
    _placed: dict[int, _Key] = field(default_factory=dict)

    def put(self, lot: LotSums) -> None:
        """Give a lot its place, where it has become free or its expiry has changed."""
        key = lot.burn_key()
        if self._placed.get(lot.number) != key:
            self._placed[lot.number] = key
            heappush(self._starting, (lot.starts, lot.number, lot))

    @property
    def next_start(self) -> datetime:
        """When the next lot starts that has not by the moment that was asked about last."""
        return self._starting[0][0] if self._starting else _NEVER

    def first(self, now: datetime) -> LotSums | None:
        """The usable lot with something free that is to be spent first; `now` never goes back."""
        while self._starting and self._starting[0][0] <= now:
            _, _, lot = heappop(self._starting)
            heappush(self._started, (lot.burn_key(), lot))
        while self._started:
            key, lot = self._started[0]
            if self._placed.get(lot.number) == key:
                if lot.left > lot.held and lot.usable(now):
                    return lot
                del self._placed[lot.number]
            heappop(self._started)
        return None
