"""A store behind a network that fails: what each process of the simulation reaches its log by.

The log itself is sound, as PostgreSQL is: what is appended is appended whole. What fails is the way
to it and back, in every way that a caller can meet (`Faults`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, TypeVar
from uuid import UUID

from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.receipt import Receipt
from creditledger.domain.store import (
    NONE_SEEN,
    Conflict,
    Expectation,
    LedgerStore,
    LogEnd,
    News,
    Snapshot,
    Stream,
    Unavailable,
)
from memory_store import MemoryStore
from scheduler import Scheduler

T = TypeVar("T")

#: Who waits for the log's lock is sent away after this, as PostgreSQL does.
_LOCK_SECONDS_MAX = 5.0

#: Who is silent for longer than this in his turn loses it, as in PostgreSQL.
_SILENCE_SECONDS_MAX = 3.0

#: The longest a statement takes where the way is slow: longer than callers are kept waiting.
_SLOW_SECONDS_MAX = 40.0

_QUICK_SECONDS_MAX = 0.004


@dataclass(slots=True)
class Faults:
    """How often each fault happens, of a thousand statements.

    `unreached`: it never arrives. `lost`: it is done, and nobody hears of it. `late`: the caller
    is told that the connection is gone, and then it is done. `refused`: a conflict for nothing.
    `slow`: it takes long. `unlocked`: the session that holds a turn is lost. `untold`: there is
    more news than is worth reading.
    """

    unreached: int = 0
    lost: int = 0
    late: int = 0
    refused: int = 0
    slow: int = 0
    unlocked: int = 0
    untold: int = 0

    @classmethod
    def drawn(cls, chance: Random) -> Faults:
        """Some of the faults, often or seldom: a seed with all of them would meet the rest less."""

        def rate() -> int:
            return chance.choice((0, 0, 5, 30, 120))

        slow = chance.choice((0, 0, 3, 20))
        return cls(rate(), rate(), rate(), rate(), slow, rate(), rate())


class Lock:
    """The lock that keeps other writers from appending; it goes with its holder's process."""

    def __init__(self) -> None:
        #: Of None, a store, or a session whose client is gone.
        self.holder: object | None = None


class SimulatedStore:
    """One process's way to the log: a LedgerStore. `base` keeps every promise of the port."""

    def __init__(self, base: LedgerStore, lock: Lock, faults: Faults, scheduler: Scheduler) -> None:
        self._base = base
        self._lock = lock
        self._faults = faults
        self._scheduler = scheduler
        self._chance = scheduler.chance
        self._session: Literal["idle", "turn", "lost"] = "idle"

    def load(
        self, streams: Collection[UUID], seen: Mapping[UUID, int] = NONE_SEEN
    ) -> Mapping[UUID, Stream]:
        """Streams from their snapshots on, or from where they were seen, if they can be reached."""
        return self._ask(lambda: self._base.load(streams, seen))

    def changed(self, versions: Mapping[UUID, int]) -> set[UUID]:
        """Those streams that have moved on."""
        return self._ask(lambda: self._base.changed(versions))

    def events(self, refs: Collection[EventRef]) -> Mapping[EventRef, Event]:
        """Single events."""
        return self._ask(lambda: self._base.events(refs))

    def receipts(self, receipt_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Receipts by their ids."""
        return self._ask(lambda: self._base.receipts(receipt_ids))

    def save_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep these states."""
        self._ask(lambda: self._base.save_snapshots(snapshots))

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        """Save it all, and be told so or not; or not save it, and be told so or not."""

        def commit() -> int:
            base = self._base.append(events, receipts, expectations, seen)
            self._scheduler.note(f"committed {len(events)} after {base}")
            return base

        def commit_in_turn() -> int:
            self._await_lock(self)
            try:
                return commit()
            finally:
                self._end_turn()

        try:
            if self._happens(self._faults.refused):
                raise Conflict("for nothing")
            if self._happens(self._faults.late):
                self._commit_late(commit)
                self._travel()
                raise Unavailable("the connection was cut, and the server has not noticed")
            return self._ask(commit_in_turn)
        finally:
            self._end_turn()

    @contextmanager
    def turn(self, seen: LogEnd | None, wanted: Collection[UUID]) -> Iterator[News]:
        """Keep the others from appending, as long as the session lasts."""
        self._travel()
        if not self._scheduler.wait_for(lambda: self._lock.holder is None, _LOCK_SECONDS_MAX):
            raise Unavailable("the lock is not to be had")
        self._lock.holder = self
        self._session = "turn"
        self._scheduler.note("others wait")
        try:
            with self._base.turn(seen, wanted) as news:
                pass
            self._travel()
            self._require_session()
            untold = self._happens(self._faults.untold)
            yield replace(news, changed=None) if untold else news
        finally:
            self._end_turn()

    def _await_lock(self, session: object) -> None:
        free_for = {None, session}
        if not self._scheduler.wait_for(lambda: self._lock.holder in free_for, _LOCK_SECONDS_MAX):
            raise Unavailable("the lock is not to be had")

    def _end_turn(self) -> None:
        self._session = "idle"
        if self._lock.holder is self:
            self._lock.holder = None

    def _lose_session(self) -> None:
        self._end_turn()
        self._session = "lost"

    def _require_session(self) -> None:
        if self._session == "lost":
            self._session = "idle"
            raise Unavailable("the session is lost, and the turn with it")

    def _commit_late(self, commit: Callable[[], int]) -> None:
        session = object()
        delay = self._chance.uniform(0, 2 * _LOCK_SECONDS_MAX)
        if self._session == "turn":
            # The server's side of the session goes on with the turn, and keeps the others waiting.
            self._session, self._lock.holder = "idle", session
            delay = self._chance.uniform(0, _SILENCE_SECONDS_MAX)

        def later() -> None:
            self._scheduler.sleep(delay)
            try:
                if self._lock.holder is not session:
                    self._await_lock(session)
                commit()
            except (Conflict, Unavailable):
                self._scheduler.note("a late commit came too late")
            finally:
                if self._lock.holder is session:
                    self._lock.holder = None

        self._scheduler.spawn("late commit", later)

    def _ask(self, statement: Callable[[], T]) -> T:
        self._travel()
        self._require_session()
        if self._happens(self._faults.unreached):
            self._end_turn()
            raise Unavailable("nobody is there")
        answer = statement()
        self._travel()
        self._require_session()
        if self._happens(self._faults.lost):
            self._end_turn()
            raise Unavailable("the connection is lost")
        return answer

    def _travel(self) -> None:
        """The way there or back: others may go on meanwhile, or we may be gone before its end."""
        if self._session == "turn" and self._happens(self._faults.unlocked):
            self._lose_session()
        if self._happens(self._faults.slow):
            delay = self._chance.uniform(0, _SLOW_SECONDS_MAX)
            if self._session == "turn" and delay > _SILENCE_SECONDS_MAX:
                self._scheduler.sleep(_SILENCE_SECONDS_MAX)
                self._lose_session()
                delay -= _SILENCE_SECONDS_MAX
            self._scheduler.sleep(delay)
        else:
            self._scheduler.sleep(self._chance.uniform(0, _QUICK_SECONDS_MAX))

    def _happens(self, rate: int) -> bool:
        happens = self._chance.randrange(1000) < rate
        if happens:
            self._scheduler.note("a fault of the store")
        return happens


class MirroredStore(MemoryStore):
    """Two stores that are told the same and must say the same: PostgreSQL's, and lists beside it.

    What is read comes from PostgreSQL.
    """

    def __init__(self, real: LedgerStore) -> None:
        super().__init__()
        self._real = real

    def load(
        self, streams: Collection[UUID], seen: Mapping[UUID, int] = NONE_SEEN
    ) -> Mapping[UUID, Stream]:
        """Streams from PostgreSQL."""
        found = self._real.load(streams, seen)
        assert found.keys() == super().load(streams, seen).keys()
        return found

    def changed(self, versions: Mapping[UUID, int]) -> set[UUID]:
        """What both say."""
        found = self._real.changed(versions)
        assert super().changed(versions) <= found
        return found

    def events(self, refs: Collection[EventRef]) -> Mapping[EventRef, Event]:
        """What both say."""
        found = self._real.events(refs)
        assert found == super().events(refs)
        return found

    def receipts(self, receipt_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """What both say."""
        found = self._real.receipts(receipt_ids)
        assert found == super().receipts(receipt_ids)
        return found

    @contextmanager
    def turn(self, seen: LogEnd | None, wanted: Collection[UUID]) -> Iterator[News]:
        """What both say. It must end before anything else is asked."""
        with self._real.turn(seen, wanted) as news, super().turn(seen, wanted) as expected:
            assert news == expected
            yield news

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        """Save it in both; a conflict of one must be a conflict of the other."""
        expected = _base_of(
            lambda: super(MirroredStore, self).append(events, receipts, expectations, seen)
        )
        found = _base_of(lambda: self._real.append(events, receipts, expectations, seen))
        assert found == expected
        if found is None:
            raise Conflict("both say so")
        return found

    def save_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep these states in PostgreSQL."""
        self._real.save_snapshots(snapshots)


def _base_of(append: Callable[[], int]) -> int | None:
    """What an append returns, or None for a conflict."""
    try:
        return append()
    except Conflict:
        return None
