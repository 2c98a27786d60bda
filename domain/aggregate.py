"""What all aggregates share: an id, a version, and state that only events change."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from eventsourcing.domain import OriginatorIDError, OriginatorVersionError

from creditledger.domain.events import Event


class Aggregate:
    """One stream of events and the state that follows from them.

    A new one has version 0 and no events. Subclasses say in `_evolve` what each event changes;
    they never refuse there, because a stored fact is never refused.
    """

    __slots__ = ("id", "recorded_at", "snapshot_version", "version")

    EVENTS: ClassVar[tuple[type[Event], ...]]

    def __init__(self, stream: UUID) -> None:
        self.id = stream
        self.version = 0
        self.recorded_at: datetime | None = None
        self.snapshot_version = 0

    def apply(self, event: Event) -> None:
        """Let the next event of the stream change the state.

        Raises OriginatorIDError or OriginatorVersionError where it is not the next event.
        """
        # Comparing UUIDs costs more than all else here, and the books' events have the very same.
        if event.originator_id is not self.id and event.originator_id != self.id:
            raise OriginatorIDError(event.originator_id, self.id)
        if event.originator_version != self.version + 1:
            raise OriginatorVersionError(event.originator_version, self.version + 1)
        self._evolve(event)
        self.version = event.originator_version
        self.recorded_at = event.recorded_at

    def _evolve(self, event: Event) -> None:
        raise NotImplementedError

    @property
    def reached(self) -> datetime | None:
        """The moment that the state stands for: what is recorded next is never earlier."""
        return self.recorded_at

    def identity(self) -> dict[str, Any]:
        """The fields that every event of this aggregate repeats."""
        return {}

    def seal(self, event: Event) -> None:
        """Complete a new event with what is known only once it has been applied."""

    def copy(self) -> Self:
        """The same state again, on which a trial leaves this one untouched."""
        other = type(self)(self.id)
        for name in (*Aggregate.__slots__, *type(self).__slots__):
            value = getattr(self, name)
            # What a mapping holds is never changed, only replaced.
            setattr(other, name, value.copy() if isinstance(value, dict) else value)
        return other
