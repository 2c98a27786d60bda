"""The facts that a credit account and its trails are made of, as they are stored for ever.

Every event says which lots, how much, why and who, with two times: `recorded_at`, the ledger's own
clock, and `context.happened_at`, when it happened outside. An account's events carry the balance
after them, so that a reader needs no fold and a proof has something to hold the fold against.
Stored forms are never edited: a changed meaning is a new version with an upcaster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from creditledger.domain.amounts import Credits, Money
from creditledger.domain.values import value

MetadataValue = str | int | float | bool | None
ReleaseReason = Literal["voided", "lapsed", "remainder"]
HoldOutcome = Literal["captured", "released", "lapsed"]
ExpiredLotsPolicy = Literal["grace", "expire"]
RevocationPolicy = Literal["debt", "write_off"]
OveragePeriod = Literal["month", "day", "year"]


@value()
class Context:
    """Who wished it and why, the same for all events of one command.

    `actor` is `client:<id>`, `provider:<name>` or `system:<name>`; `causation_id` the receipt or
    delivery that led here, or the actor where neither did; `correlation_id` what the caller ties
    several commands together with.
    """

    actor: str
    causation_id: str
    correlation_id: str
    happened_at: datetime | None = None
    metadata: Mapping[str, MetadataValue] | None = None


@value()
class Balance:
    """An account's five figures at one moment; debt and overage reduce none of the others."""

    available: int
    held: int
    scheduled: int
    debt: int
    overage: int

    @property
    def total(self) -> int:
        """Available, held and scheduled together."""
        return self.available + self.held + self.scheduled


@value()
class LotAmount:
    """So much of one lot."""

    grant_id: str
    amount: Credits


@value()
class LotTerms:
    """What a lot is, whatever is left of it."""

    grant_id: str
    source: str
    priority: int
    granted: Credits
    effective_at: datetime
    expires_at: datetime | None
    cost_basis: Money | None
    payment_id: str | None
    written_off: Credits


@value(kw_only=True)
class Event:
    """A fact of one stream: the base of all of them."""

    TOPIC: ClassVar[str]

    originator_id: UUID
    originator_version: int
    recorded_at: datetime
    context: Context


@value(kw_only=True)
class AccountEvent(Event):
    """A fact of a credit account."""

    customer_id: str
    asset: str
    #: The balance right after the event, at `recorded_at`; filled in as it is recorded.
    after: Balance = field(default=Balance(0, 0, 0, 0, 0))


@value(kw_only=True)
class Granted(AccountEvent):
    """Credits were given; what the debts did not take is a new lot."""

    TOPIC: ClassVar[str] = "creditledger.Granted"

    amount: Credits
    source: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    cost_basis: Money | None = None
    payment_id: str | None = None
    #: The lot that this one carries on (a refund after expiry, a transfer), where there is one.
    origin_grant_id: str | None = None
    #: The deduction on the sender's account, where the grant is a transfer's.
    transfer_id: str | None = None
    reference: str | None = None
    #: Open debts that the grant repaid at once, by the revoked grant that they stem from.
    debt_repaid: tuple[LotAmount, ...] = ()


@value(kw_only=True)
class Held(AccountEvent):
    """Credits were pinned for work that is yet to be done."""

    TOPIC: ClassVar[str] = "creditledger.Held"

    amount: Credits
    expires_at: datetime
    lots: tuple[LotAmount, ...]
    feature: str | None = None


@value(kw_only=True)
class Deducted(AccountEvent):
    """Credits were spent: first those that a hold had pinned, then free ones, then overage."""

    TOPIC: ClassVar[str] = "creditledger.Deducted"

    amount: Credits
    lots: tuple[LotAmount, ...]
    overage: Credits
    feature: str | None = None
    hold_id: str | None = None
    #: How much came from which of the hold's pins, where it is a capture.
    captured: tuple[LotAmount, ...] = ()
    #: The receiving customer, where it is a transfer.
    transfer_to: str | None = None


@value(kw_only=True)
class Released(AccountEvent):
    """What a hold still pinned was given back, and the hold is closed."""

    TOPIC: ClassVar[str] = "creditledger.Released"

    hold_id: str
    reason: ReleaseReason
    amount: Credits
    lots: tuple[LotAmount, ...]
    #: When the hold's time ran out, where it lapsed; `recorded_at` is when that was noticed.
    lapsed_at: datetime | None = None
    note: str | None = None


@value(kw_only=True)
class Refunded(AccountEvent):
    """A deduction was given back, in part or whole: overage first, then lots, last spent first."""

    TOPIC: ClassVar[str] = "creditledger.Refunded"

    deduction_id: str
    amount: Credits
    overage: Credits
    #: The part of `overage` that was used in the period of `recorded_at`.
    overage_this_period: Credits
    lots: tuple[LotAmount, ...]
    #: Lots that had closed meanwhile and are open again, whole, with nothing in them yet.
    reopened: tuple[LotTerms, ...] = ()
    expired_lots: ExpiredLotsPolicy = "grace"
    reason: str | None = None


@value(kw_only=True)
class Expired(AccountEvent):
    """What was left in lots of one expiry, and not pinned, ended."""

    TOPIC: ClassVar[str] = "creditledger.Expired"

    lots: tuple[LotAmount, ...]
    expired_at: datetime


@value(kw_only=True)
class Revoked(AccountEvent):
    """A grant was taken back: from its lot, from others of its payment, then as debt or loss."""

    TOPIC: ClassVar[str] = "creditledger.Revoked"

    grant_id: str
    amount: Credits
    lots: tuple[LotAmount, ...]
    debt: Credits
    written_off: Credits
    payment_id: str | None
    reason: str | None = None


@value(kw_only=True)
class Recovered(AccountEvent):
    """Credits came back to a revoked lot and were taken, so its debt or write-off is smaller."""

    TOPIC: ClassVar[str] = "creditledger.Recovered"

    grant_id: str
    amount: Credits
    debt: Credits
    written_off: Credits


@value(kw_only=True)
class Reinstated(AccountEvent):
    """A revocation was undone: open debts of the payment first, then the lot, then the loss."""

    TOPIC: ClassVar[str] = "creditledger.Reinstated"

    grant_id: str
    amount: Credits
    lots: tuple[LotAmount, ...]
    #: Debts that were cancelled, by the revoked grant that they stem from.
    debt_cancelled: tuple[LotAmount, ...]
    written_off: Credits
    reopened: tuple[LotTerms, ...] = ()
    reason: str | None = None


@value(kw_only=True)
class ExpiryChanged(AccountEvent):
    """A grant's lot ends at another time than before."""

    TOPIC: ClassVar[str] = "creditledger.ExpiryChanged"

    grant_id: str
    expires_at: datetime | None
    previous: datetime | None


@value(kw_only=True)
class OverageLimitSet(AccountEvent):
    """How much may be spent beyond the lots in a period: 0 is nothing, None without limit."""

    TOPIC: ClassVar[str] = "creditledger.OverageLimitSet"

    limit: Credits | None
    period: OveragePeriod = "month"


@value(kw_only=True)
class HoldEnded(Event):
    """Trail of a hold: it is closed, and this is how. One that was captured needs none."""

    TOPIC: ClassVar[str] = "creditledger.HoldEnded"

    how: HoldOutcome


@value(kw_only=True)
class DeductionRefunded(Event):
    """Trail of a deduction: how much of it was refunded so far, in all."""

    TOPIC: ClassVar[str] = "creditledger.DeductionRefunded"

    refunded: Credits


@value(kw_only=True)
class GrantRevised(Event):
    """Trail of a grant: what holds of it now, in all, other than when it was granted."""

    TOPIC: ClassVar[str] = "creditledger.GrantRevised"

    #: Revoked less reinstated, so far.
    revoked: Credits
    #: The part of `revoked` that could not be taken and was written off.
    written_off: Credits
    expires_at: datetime | None


ACCOUNT_EVENTS: tuple[type[AccountEvent], ...] = (
    Granted,
    Held,
    Deducted,
    Released,
    Refunded,
    Expired,
    Revoked,
    Recovered,
    Reinstated,
    ExpiryChanged,
    OverageLimitSet,
)
TRAIL_EVENTS: tuple[type[Event], ...] = (HoldEnded, DeductionRefunded, GrantRevised)
