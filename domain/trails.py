"""Trails: what became of a grant, a hold or a deduction after its own event.

An account remembers open lots, open holds and debts only (domain/README.md, 8). What must be known
of the others (how a hold ended, how much of a deduction was refunded, what holds of a grant now) is
the last event of a small stream derived from the id, saved with the account's in one transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from creditledger.domain.aggregate import Aggregate
from creditledger.domain.amounts import NO_CREDITS, Credits
from creditledger.domain.events import (
    TRAIL_EVENTS,
    DeductionRefunded,
    Event,
    GrantRevised,
    HoldEnded,
    HoldOutcome,
)


class Trail(Aggregate):
    """One id's trail; its events say everything anew, so the last one is the state."""

    __slots__ = ("ended", "expires_at", "refunded", "revised", "revoked", "written_off")

    EVENTS: ClassVar[tuple[type[Event], ...]] = TRAIL_EVENTS

    def __init__(self, stream: UUID) -> None:
        super().__init__(stream)
        #: How a hold was closed: captures, which close most, say nothing here.
        self.ended: HoldOutcome = "captured"
        #: How much of a deduction was given back.
        self.refunded: Credits = NO_CREDITS
        #: How much of a grant is revoked, and how much of that was written off.
        self.revoked: Credits = NO_CREDITS
        self.written_off: Credits = NO_CREDITS
        #: A grant's expiry, where `revised` says that the grant's own event no longer tells.
        self.expires_at: datetime | None = None
        self.revised = False

    def _evolve(self, event: Event) -> None:
        match event:
            case HoldEnded():
                self.ended = event.how
            case DeductionRefunded():
                self.refunded = event.refunded
            case GrantRevised():
                self.revoked = event.revoked
                self.written_off = event.written_off
                self.expires_at = event.expires_at
                self.revised = True
