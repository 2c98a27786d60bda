"""The service's own proof of a log, on a log in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NoReturn
from uuid import UUID

from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.infra.frozen_log import StoredEvent
from creditledger.projections.findings import Findings
from creditledger.projections.log_audit import LogAudit
from memory_store import MemoryStore


def audit(log: MemoryStore, at: datetime) -> None:
    """Assert that the walk of `creditledger verify` through the log finds nothing."""
    findings = Findings()
    for _ in LogAudit(_MemoryLog(log), findings, balances_at=-1, at=at).accounts():
        pass
    assert not findings.total, "\n".join(str(difference) for difference in findings.kept)


class _MemoryLog:
    """The log as `LogAudit` reads it."""

    def __init__(self, log: MemoryStore) -> None:
        self._log = log
        self._positions = {
            EventRef(event.originator_id, event.originator_version): position
            for position, event in enumerate(log.log, start=1)
        }

    @property
    def connection(self) -> NoReturn:
        raise AssertionError("the walk through the log asks for no tables")

    @property
    def head(self) -> int:
        return len(self._log.log)

    def gaps(self) -> list[tuple[int, int]]:
        """A list has none."""
        return []

    def by_stream(self) -> Iterator[list[StoredEvent]]:
        for stream in sorted(self._log.streams):
            if events := self.of_streams([stream]):
                yield events

    def of_streams(self, streams: Collection[UUID]) -> list[StoredEvent]:
        return [
            self._stored(event) for stream in streams for event in self._log.streams.get(stream, ())
        ]

    def at(self, refs: Collection[EventRef]) -> list[StoredEvent]:
        return [self._stored(event) for event in self._log.events(refs).values()]

    def _stored(self, event: Event) -> StoredEvent:
        return StoredEvent(
            position=self._positions[EventRef(event.originator_id, event.originator_version)],
            topic=event.TOPIC,
            stream=event.originator_id,
            version=event.originator_version,
            recorded_at=event.recorded_at,
            event=event,
            fault=None,
        )
