"""Events and receipts in lists: the store behind the port of `domain/store.py`, for domain tests.

It keeps every promise of the port and no more, so a test that passes here says something about the
ledger and nothing about PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal
from uuid import UUID

from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.receipt import Receipt
from creditledger.domain.snapshots import FORM
from creditledger.domain.store import (
    NONE_SEEN,
    Conflict,
    Expectation,
    LogEnd,
    News,
    Snapshot,
    Stream,
    Unavailable,
)


class MemoryStore:
    """A log, its streams, the receipts and the latest snapshots. Positions start at 1."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.streams: dict[UUID, list[Event]] = {}
        self.kept_receipts: dict[UUID, Receipt] = {}
        self.snapshots: dict[UUID, Snapshot] = {}

    def load(
        self, streams: Collection[UUID], seen: Mapping[UUID, int] = NONE_SEEN
    ) -> Mapping[UUID, Stream]:
        """Streams from their snapshots on, or from where they were `seen`."""
        found: dict[UUID, Stream] = {}
        for stream in streams:
            version = seen.get(stream, 0)
            if self._version(stream) > version:
                snapshot = self._usable_snapshot(stream)
                if snapshot is not None and snapshot.originator_version > version:
                    version = snapshot.originator_version
                else:
                    snapshot = None
                found[stream] = Stream(snapshot, tuple(self.streams[stream][version:]))
        return found

    def changed(self, versions: Mapping[UUID, int]) -> set[UUID]:
        """Those streams that hold events past the given versions."""
        return {stream for stream, version in versions.items() if self._version(stream) > version}

    def events(self, refs: Collection[EventRef]) -> Mapping[EventRef, Event]:
        """Single events by where they stand; missing ones are left out."""
        return {
            ref: self.streams[ref.stream][ref.version - 1]
            for ref in refs
            if 1 <= ref.version <= self._version(ref.stream)
        }

    def receipts(self, receipt_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Receipts by their ids; missing ones are left out."""
        return {id_: self.kept_receipts[id_] for id_ in receipt_ids if id_ in self.kept_receipts}

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        """Save it all and return the newest position before it, or raise Conflict."""
        if seen is not None and not self._passed(seen):
            raise Conflict(f"the log has never ended at {seen}")
        base = len(self.log)
        moved = self._moved(events, expectations)
        if moved is not None:
            # A store takes the writer's word for it, and would save this.
            assert self.end != seen, f"the writer has not followed the log to {seen}: {moved}"
            raise Conflict(moved)
        new = {receipt.id for receipt, _ in receipts}
        if len(new) < len(receipts) or new & self.kept_receipts.keys():
            raise Conflict("a receipt exists")
        for event in events:
            self.log.append(event)
            self.streams.setdefault(event.originator_id, []).append(event)
        for receipt, number in receipts:
            self.kept_receipts[receipt.id] = replace(receipt, position=base + number)
        return base

    def _moved(self, events: Sequence[Event], expectations: Sequence[Expectation]) -> str | None:
        versions: dict[UUID, int] = {}
        for event in events:
            version = versions.get(event.originator_id, self._version(event.originator_id))
            if event.originator_version != version + 1:
                return f"{event.originator_id} is at {version}: {event}"
            versions[event.originator_id] = version + 1
        for expected in expectations:
            if self._version(expected.originator_id) != expected.version:
                return f"{expected.originator_id} is not at {expected.version}"
        return None

    @contextmanager
    def turn(self, seen: LogEnd | None, wanted: Collection[UUID]) -> Iterator[News]:
        """The news; one thread has the lists to itself already."""
        if seen is None or not self._passed(seen):
            yield News(self.end, None, another=seen is not None)
            return
        changed: dict[UUID, list[Event]] = {}
        for event in self.log[seen.position :]:
            if event.originator_id in wanted:
                changed.setdefault(event.originator_id, []).append(event)
        yield News(self.end, changed)

    @property
    def end(self) -> LogEnd:
        """Where the log ends."""
        return self._end_at(len(self.log))

    def _passed(self, end: LogEnd) -> bool:
        return end.position <= len(self.log) and self._end_at(end.position) == end

    def _end_at(self, position: int) -> LogEnd:
        return LogEnd(position, self.log[position - 1].recorded_at if position else None)

    def save_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep these states."""
        for snapshot in snapshots:
            self.snapshots[snapshot.originator_id] = snapshot

    def _usable_snapshot(self, stream: UUID) -> Snapshot | None:
        snapshot = self.snapshots.get(stream)
        return snapshot if snapshot and snapshot.state.get("form") == FORM else None

    def traces(self) -> tuple[int, int]:
        """How much commands left: the number of events, what time did aside, and of receipts."""
        done = [event for event in self.log if event.context.actor != "system:time"]
        return len(done), len(self.kept_receipts)

    def _version(self, stream: UUID) -> int:
        return len(self.streams.get(stream, ()))


class FaultyStore(MemoryStore):
    """A store whose next save fails: it is `lost` after it was kept, or `unreached` before."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Literal["lost", "unreached"] | None = None

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        """Save it all, or fail once as it was told to."""
        fault, self.fault = self.fault, None
        if fault == "unreached":
            raise Unavailable("nobody is there")
        base = super().append(events, receipts, expectations, seen)
        if fault == "lost":
            raise Unavailable("the connection is lost")
        return base
