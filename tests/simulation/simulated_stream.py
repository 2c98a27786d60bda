"""A stream of deliveries that fails: what lies between the edge and the consumers.

It keeps the promises of the port (`infra/delivery.py`) and no more: deliveries come at least once,
no two of one key at a time and each key's in order, until one is parked; of different keys, in any
order. What was settled may be lost, and a worker may go away with its hands full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from creditledger.domain.store import Unavailable
from creditledger.infra.delivery import Delivery, Taken, Verdict
from memory_store import MemoryStore
from scheduler import Scheduler

_TRAVEL_SECONDS_MAX = 0.01

#: A worker that waits for longer looks by itself, because an announcement can be lost.
_IDLE_SECONDS_MAX = 10.0


@dataclass(eq=False)
class _Kept:
    """A delivery and what came of it so far."""

    delivery: Delivery
    due: float
    status: str = "received"
    in_hand: bool = False
    tries: int = 0
    faults: int = 0
    awaits: tuple[UUID, ...] = ()
    seen_position: int = 0


class SimulatedStream:
    """All ends of the stream. `fault_rate` is how often it fails, of a thousand times."""

    def __init__(self, log: MemoryStore, scheduler: Scheduler, *, fault_rate: int) -> None:
        self.kept: list[_Kept] = []
        self.fault_rate = fault_rate
        self._log = log
        self._scheduler = scheduler

    def put(self, *deliveries: Delivery) -> None:
        """Keep deliveries once; where that fails, they may have been kept or not."""
        self._travel()
        for delivery in deliveries:
            known = {kept.delivery.delivery_id for kept in self.kept}
            if delivery.delivery_id not in known:
                self.kept.append(_Kept(delivery, self._scheduler.seconds()))
        self._travel()

    @contextmanager
    def take(self, limit: int) -> Iterator[Sequence[Taken]]:
        """Some of the deliveries that are due, the first of each key."""
        self._travel()
        due = self._due()
        chance = self._scheduler.chance
        mine = chance.sample(due, chance.randint(1, min(limit, len(due)))) if due else []
        for kept in mine:
            kept.in_hand = True
        head = len(self._log.log)
        batch = [
            Taken(delivery=kept.delivery, tries=kept.tries, faults=kept.faults, position=head)
            for kept in mine
        ]
        try:
            yield batch
            self._travel()
            for kept, taken in zip(mine, batch, strict=True):
                if taken.verdict is not None:
                    self._settle(kept, taken.verdict)
            self._travel()
        finally:
            for kept in mine:
                kept.in_hand = False

    def free(self) -> int:
        """Let those be tried again that wait for streams with news; return how many."""
        freed = 0
        news: dict[UUID, int] = {}
        for position, event in enumerate(self._log.log, start=1):
            news[event.originator_id] = position
        for kept in self.kept:
            if kept.status == "parked" and any(
                news.get(stream, 0) > kept.seen_position for stream in kept.awaits
            ):
                kept.status = "received"
                freed += 1
        return freed

    def wait(self, seconds: float) -> None:
        """Go on when there is something to take, or news that may free something; then after so
        long."""
        head = len(self._log.log)
        self._scheduler.wait_for(
            lambda: len(self._log.log) > head or bool(self._due()), _IDLE_SECONDS_MAX
        )
        self._scheduler.sleep(seconds)

    def waiting(self) -> int:
        """How many deliveries have yet to be handled, or to be tried again."""
        return sum(kept.status == "received" for kept in self.kept)

    def parked(self) -> list[str]:
        """The deliveries that wait for something that was not told."""
        return sorted(k.delivery.delivery_id for k in self.kept if k.status == "parked")

    def close(self) -> None:
        """Nothing is held."""

    def _due(self) -> list[_Kept]:
        """The first of each key, where it is due and in nobody's hands."""
        firsts: dict[str, _Kept] = {}
        for kept in self.kept:
            if kept.status == "received":
                firsts.setdefault(kept.delivery.stream_key, kept)
        now = self._scheduler.seconds()
        return [kept for kept in firsts.values() if kept.due <= now and not kept.in_hand]

    def _settle(self, kept: _Kept, verdict: Verdict) -> None:
        kept.status = verdict.status
        kept.tries += 1
        kept.faults = verdict.faults
        kept.awaits = verdict.awaits
        kept.seen_position = verdict.seen_position
        kept.due = self._scheduler.seconds() + verdict.retry_seconds
        self._scheduler.note(f"{kept.delivery.type}: {verdict.status} {verdict.reason or ''}")
        assert verdict.reason != "error", verdict

    def _travel(self) -> None:
        chance = self._scheduler.chance
        self._scheduler.sleep(chance.uniform(0, _TRAVEL_SECONDS_MAX))
        if chance.randrange(1000) < self.fault_rate:
            self._scheduler.note("a fault of the stream")
            raise Unavailable("the stream is not to be reached")
