"""The log at one moment, as a proof reads it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from psycopg import Connection

from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef


class Stored(Protocol):
    """An event with the columns beside it; `event` is None where `fault` says why."""

    @property
    def position(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def stream(self) -> UUID: ...
    @property
    def version(self) -> int: ...
    @property
    def recorded_at(self) -> datetime: ...
    @property
    def event(self) -> Event | None: ...
    @property
    def fault(self) -> str | None: ...


class FrozenLog(Protocol):
    """The log at one moment, with the tables beside it."""

    @property
    def connection(self) -> Connection[Any]:
        """Sees all tables as they were at that moment."""

    @property
    def head(self) -> int:
        """The newest position."""

    def gaps(self) -> Iterable[tuple[int, int]]:
        """Positions that do not follow the one before: that one and the position, the first few."""

    def by_stream(self) -> Iterator[Sequence[Stored]]:
        """All events, stream by stream, each in order of its versions, a long one in pieces."""

    def of_streams(self, streams: Collection[UUID]) -> Iterable[Stored]:
        """All events of these streams, stream by stream."""

    def at(self, refs: Collection[EventRef]) -> Iterable[Stored]:
        """Single events by where they stand; missing ones are left out."""


class PartedLog(FrozenLog, Protocol):
    """The same, which can be gone through in parts."""

    def part(self, first: UUID, beyond: UUID | None) -> FrozenLog:
        """The log of which `by_stream` tells the streams from `first` to before `beyond`."""

    def of_topics(self, topics: Collection[str]) -> Iterator[Stored]:
        """All events of these topics, in order of their positions."""
