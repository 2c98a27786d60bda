"""A payment: one provider payment's life, from money that came to credits that it has to lose.

What was told of its refunds and disputes is kept as it was told; what follows for credits is a
target that is worked out of all of it, so that order and repetition do not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.amounts import Credits, Money, proportion
from creditledger.domain.books import Books
from creditledger.domain.errors import Parked
from creditledger.domain.events import Event
from creditledger.domain.payment_events import (
    PAYMENT_EVENTS,
    DisputeReported,
    PaymentEvent,
    PaymentGrant,
    PaymentGranted,
    PaymentReallotted,
    PaymentRecorded,
    PaymentRedated,
    PaymentTied,
    RefundReported,
    RefundTotalReported,
    RemovalSet,
)
from creditledger.domain.provider_commands import (
    DisputeStanding,
    PaymentCommand,
    Provider,
    RefundStatus,
    RefundTotal,
)
from creditledger.domain.values import value

#: `parked`: what was bought, or whose it is, is not known yet, so nothing was granted.
PaymentStatus = Literal[
    "parked", "paid", "partially_refunded", "refunded", "disputed", "charged_back"
]

_EARLIEST = datetime.min.replace(tzinfo=UTC)

#: How far a refund has come: whatever the order of the news, the furthest state stands. No two
#: states are as far, so that it does not matter which of them was told first.
_REFUND_PROGRESS: dict[RefundStatus, int] = {
    "pending": 0,
    "requires_action": 1,
    "succeeded": 2,
    "failed": 3,
    "canceled": 4,
}

#: How far a dispute has come. A bank's late word may turn an end round, so of two ends the newer
#: stands.
_DISPUTE_PROGRESS: dict[DisputeStanding, int] = {
    "inquiry": 0,
    "open": 1,
    "prevented": 2,
    "lost": 2,
    "won": 2,
}

#: The disputes whose money the bank has taken.
_TAKEN: tuple[DisputeStanding, ...] = ("open", "lost")


@value()
class Refund:
    """A refund as far as it has come, in minor units of the payment's currency.

    `source` is the PaymentIntent that it gives back to, where the payment is named otherwise.
    """

    amount: int
    status: RefundStatus
    counted: bool
    source: str | None = None


@value()
class Dispute:
    """A dispute as far as it has come, in minor units of the payment's currency.

    `status` is the provider's own word for it.
    """

    amount: int
    standing: DisputeStanding
    status: str
    as_of: datetime


class Payment(Aggregate):
    """One payment at a provider: recorded once, granted once.

    `removed` says how much of each grant is taken back because of refunds, disputes and what was
    withdrawn, by grant id. `pays` names the payment that this one is news about, where it is none
    of its own.
    """

    __slots__ = ("customer_id", "disputes", "granted", "grants", "paid", "paid_at", "pays",
                 "provider", "provider_id", "refund_totals", "refunds", "removed")  # fmt: skip

    EVENTS: ClassVar[tuple[type[Event], ...]] = PAYMENT_EVENTS

    def __init__(self, stream: UUID) -> None:
        super().__init__(stream)
        self.provider: Provider = "stripe"
        self.provider_id = ""
        self.customer_id: str | None = None
        self.paid: Money | None = None
        self.paid_at: datetime | None = None
        self.pays: str | None = None
        self.granted = False
        self.grants: tuple[PaymentGrant, ...] = ()
        self.refunds: dict[str, Refund] = {}
        #: What records of the payment tell, by the PaymentIntent that they are about.
        self.refund_totals: dict[str | None, RefundTotal] = {}
        self.disputes: dict[str, Dispute] = {}
        self.removed: dict[str, Credits] = {}

    def identity(self) -> dict[str, Any]:
        """Which payment it is."""
        return {"provider": self.provider, "provider_id": self.provider_id}

    def seal(self, event: Event) -> None:
        """Write what is refunded or disputed in all into a report, before anybody has seen it."""
        if isinstance(event, RefundReported | RefundTotalReported):
            object.__setattr__(event, "refunded", self.refunded)
        elif isinstance(event, DisputeReported):
            object.__setattr__(event, "disputed", self.disputed)

    def _evolve(self, event: Event) -> None:
        if isinstance(event, PaymentEvent):
            self.provider, self.provider_id = event.provider, event.provider_id
            self.customer_id = event.customer_id
        match event:
            case PaymentRecorded():
                self.paid = event.paid
                self.paid_at = event.paid_at
                if event.refund_total is not None:
                    self.refund_totals[None] = event.refund_total
            case PaymentRedated():
                self.paid_at = event.paid_at
            case PaymentGranted():
                self.granted = True
                self.grants = event.grants
            case PaymentReallotted():
                self.grants = event.grants
            case PaymentTied():
                self.pays = event.pays
            case RefundReported():
                self.refunds[event.refund_id] = Refund(
                    event.amount.amount, event.status, event.counted, event.source
                )
            case RefundTotalReported():
                self.refund_totals[event.source] = event.total
            case DisputeReported():
                self.disputes[event.dispute_id] = Dispute(
                    event.amount.amount, event.standing, event.status, event.as_of
                )
            case RemovalSet():
                self.removed = {lot.grant_id: lot.amount for lot in event.removed}

    @property
    def payment_id(self) -> str:
        """The `pay_` id."""
        return ids.stream_id(ids.PAYMENT, self.id)

    @property
    def refunded(self) -> int:
        """What is refunded in all, in minor units.

        For each source of the money the larger of what the counted refunds that succeeded add up
        to, and the total that the source's own record told less the refunds that failed after all.
        """
        counted = [refund for refund in self.refunds.values() if refund.counted]
        sources = {refund.source for refund in counted} | self.refund_totals.keys()
        return sum(
            self._refunded([refund for refund in counted if refund.source == source], source)
            for source in sources
        )

    def _refunded(self, refunds: Iterable[Refund], source: str | None) -> int:
        succeeded = failed = 0
        for refund in refunds:
            if refund.status == "succeeded":
                succeeded += refund.amount
            elif refund.status in ("failed", "canceled"):
                failed += refund.amount
        total = self.refund_totals.get(source)
        return succeeded if total is None else max(succeeded, total.amount - failed)

    @property
    def disputed(self) -> int:
        """What banks have taken back and not returned, in minor units."""
        return sum(d.amount for d in self.disputes.values() if d.standing in _TAKEN)

    @property
    def status(self) -> PaymentStatus:
        """Where the payment stands, in one word; a dispute says more than refunds do."""
        if not self.granted or self.paid is None:
            return "parked"
        standings = {dispute.standing for dispute in self.disputes.values()}
        return granted_status(self.paid.amount, self.refunded, standings)

    def is_news(self, total: RefundTotal, source: str | None) -> bool:
        """Whether a total that was told stands instead of the one known so far."""
        known = self.refund_totals.get(source)
        if known is None:
            return True
        if (known.as_of, known.amount) == (total.as_of, total.amount):
            return False
        return _newness(total) > _newness(known)

    def refund_is_news(self, refund_id: str, status: RefundStatus) -> bool:
        """Whether a refund has come further than was known."""
        known = self.refunds.get(refund_id)
        return known is None or _REFUND_PROGRESS[status] > _REFUND_PROGRESS[known.status]

    def dispute_is_news(self, dispute_id: str, dispute: Dispute) -> bool:
        """Whether a dispute has come further than was known, or, as far, is told later.

        What is said once more is news, too: an older word that comes after it must not stand.
        """
        known = self.disputes.get(dispute_id)
        return known is None or _dispute_order(dispute) > _dispute_order(known)

    def allotted(self) -> dict[str, int]:
        """How many credits of each asset are the payment's, refunded or not."""
        return _by_asset((grant.asset, grant.allotted) for grant in self.grants)

    def targets(self) -> dict[str, Credits]:
        """How many credits of each asset the payment's grants have to lose in all.

        What was withdrawn, and of the rest `floor(allotted × min(paid, refunded + disputed) ÷
        paid)`.
        """
        withdrawn = _by_asset((grant.asset, grant.withdrawn) for grant in self.grants)
        if self.paid is None or self.paid.amount == 0:
            return {asset: Credits(amount) for asset, amount in withdrawn.items()}
        lost = min(self.refunded + self.disputed, self.paid.amount)
        return {
            asset: Credits(withdrawn[asset] + proportion(allotted, lost, self.paid.amount))
            for asset, allotted in self.allotted().items()
        }


def granted_status(paid: int, refunded: int, standings: Collection[str]) -> PaymentStatus:
    """Where a payment stands that was granted, with disputes of these standings."""
    if "open" in standings:
        return "disputed"
    if "lost" in standings:
        return "charged_back"
    if refunded == 0:
        return "paid"
    return "refunded" if refunded >= paid else "partially_refunded"


def _by_asset(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for asset, amount in amounts:
        sums[asset] = sums.get(asset, 0) + amount
    return sums


def _newness(total: RefundTotal) -> tuple[datetime, datetime, int]:
    """Totals in the order in which they stand, the last one best."""
    return (total.as_of or _EARLIEST, total.told_at or _EARLIEST, total.amount)


def _dispute_order(dispute: Dispute) -> tuple[int, datetime, str, int, str]:
    """Reports of one dispute in the order in which they stand, the last one best."""
    progress = _DISPUTE_PROGRESS[dispute.standing]
    return (progress, dispute.as_of, dispute.standing, dispute.amount, dispute.status)


def find_payment(command: PaymentCommand, books: Books) -> Payment:
    """The payment that a command names, new where nothing was told of it."""
    return payment_of(command.provider, command.provider_id, books)


def payment_of(provider: Provider, provider_id: str, books: Books) -> Payment:
    """A provider's payment, new where nothing was told of it."""
    payment = books.get(Payment, ids.payment_stream(provider, provider_id))
    if payment.version == 0:
        payment.provider, payment.provider_id = provider, provider_id
    return payment


def ensure_same_currency(payment: Payment, currency: str) -> None:
    """Raise Parked where news about a payment is in another currency: sums would mean nothing."""
    if payment.paid is not None and payment.paid.currency != currency:
        raise Parked(
            reason="unknown_value",
            waits_for=None,
            detail=f"the payment is in {payment.paid.currency}, and this in {currency}",
        )


def describe(payment: Payment) -> dict[str, Any]:
    """Where a payment stands."""
    return {
        "payment_id": payment.payment_id,
        "status": payment.status,
        "customer_id": payment.customer_id,
        "grants": [
            {
                "grant_id": grant.grant_id,
                "asset": grant.asset,
                "amount": grant.allotted,
                "removed": max(0, payment.removed.get(grant.grant_id, 0) - grant.withdrawn),
            }
            for grant in payment.grants
        ],
    }
