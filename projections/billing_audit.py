"""Proves what payments took and gave, and what periods allotted to them (domain/README.md, 11).

What a payment says of its grants, and a period of its payments, is looked up in batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.billing import Bill, BillingPeriod, allot
from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.payment import Payment
from creditledger.domain.payment_events import (
    DisputeReported,
    PaidLine,
    PaymentEvent,
    PaymentGrant,
    PaymentGranted,
    RefundReported,
    RefundTotalReported,
    RemovalSet,
)
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.frozen_log import FrozenLog, Stored

#: Where no event stands.
NOWHERE: Final = EventRef(UUID(int=0), 0)

#: How much was revoked of each grant after each change, with the changes' positions.
_Revoked = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Move:
    """What a payment has to lose has changed at position `since`; by `until` credits followed.

    `removed` is what the rule itself has taken of each grant, before and after.
    """

    since: int
    until: int
    version: int
    grants: Sequence[PaymentGrant]
    targets_before: Mapping[str, int]
    targets: Mapping[str, int]
    removed_before: Mapping[str, int]
    removed: Mapping[str, int]


class PaymentAudit:
    """Takes in one payment's events and checks what they say against their fold."""

    def __init__(self, stream: UUID, findings: Findings) -> None:
        self.payment = Payment(stream)
        self.lines: Sequence[PaidLine] = ()
        self.moves: list[Move] = []
        self._findings = findings

    def witness(self, event: PaymentEvent) -> Witness:
        """Tells of one of its events."""
        key = ids.stream_key(event.originator_id)
        place = ids.event_id(ids.EVENT, key, event.originator_version)
        return Witness(self._findings, "log", place, self.payment.customer_id)

    def take_in(self, position: int, event: PaymentEvent) -> None:
        """Check one event."""
        payment = self.payment
        targets, removed = payment.targets(), payment.removed
        payment.apply(event)
        witness = self.witness(event)
        own = ids.payment_stream(event.provider, event.provider_id)
        witness.expect("the payment's id", own, event.originator_id)
        match event:
            case PaymentGranted():
                self.lines = event.lines
            case RefundReported() | RefundTotalReported():
                witness.expect("refunded in all", payment.refunded, event.refunded)
            case DisputeReported():
                witness.expect("disputed in all", payment.disputed, event.disputed)
            case RemovalSet():
                self._follow(position, event, witness)
        if payment.targets() != targets:
            move = Move(
                position,
                position,
                payment.version,
                payment.grants,
                targets,
                payment.targets(),
                removed,
                removed,
            )
            self.moves.append(move)
        if payment.pays is not None and payment.paid is None:
            # What is tied to another payment is none of its own: nothing else is said of it.
            witness.expect("events of what is tied to a payment", 1, payment.version)
        self._check_grants(witness)

    def allotted(self, end: Any) -> dict[str, int]:
        """What it has of each asset for the period that ends then."""
        sums = Counter[str]()
        for grant in self.payment.grants:
            if grant.period_end == end:
                sums[grant.asset] += grant.allotted
        return dict(+sums)

    def paid_for(self, end: Any) -> list[tuple[Any, ...]]:
        """Its lines for the period that ends then."""
        return [
            (line.price_id, line.asset, line.credits, line.proration)
            for line in self.lines
            if line.asset is not None and line.period is not None and line.period.end == end
        ]

    def periods(self) -> int:
        """For how many periods it pays."""
        return len({line.period.end for line in self.lines if line.asset and line.period})

    def _follow(self, position: int, event: RemovalSet, witness: Witness) -> None:
        if self.moves and self.moves[-1].version == event.originator_version - 1:
            self.moves[-1] = replace(self.moves[-1], until=position, removed=self.payment.removed)
        else:
            witness.report("follows what moved its target", "a move", "none")

    def _check_grants(self, witness: Witness) -> None:
        granted = {grant.grant_id: grant for grant in self.payment.grants}
        past = {
            grant_id: amount
            for grant_id, amount in self.payment.removed.items()
            if grant_id not in granted or not 0 <= amount <= granted[grant_id].amount
        }
        witness.expect("removed past what was granted", {}, past)
        wrong = {
            grant_id: grant.withdrawn
            for grant_id, grant in granted.items()
            if not 0 <= grant.withdrawn <= grant.amount
        }
        witness.expect("withdrawn past what was granted", {}, wrong)


class BillingAudit:
    """What payments and periods say of others, until it is looked up.

    `grants` counts the grants that payments name; `periods_paid` and `periods_billed` count the
    periods that payments pay for, as payments and as periods say.
    """

    def __init__(self, log: FrozenLog, findings: Findings) -> None:
        self.grants = 0
        self.periods_paid = 0
        self.periods_billed = 0
        self._log = log
        self._findings = findings
        self._granted: dict[EventRef, tuple[str, str, int, str | None]] = {}
        self._moved: list[PaymentAudit] = []
        self._periods: list[BillingPeriod] = []

    def __len__(self) -> int:
        return len(self._granted) + len(self._moved) + len(self._periods)

    def ask_payment(self, audit: PaymentAudit) -> None:
        """Look a payment's grants up later, and what was revoked of them."""
        payment = audit.payment
        for grant in payment.grants:
            ref = ids.parse_event_id(ids.GRANT, grant.grant_id) or NOWHERE
            says = (payment.payment_id, grant.asset, grant.amount, payment.customer_id)
            self._granted[ref] = says
        if audit.moves:
            self._moved.append(audit)
        self.grants += len(payment.grants)
        self.periods_paid += audit.periods()

    def ask_period(self, period: BillingPeriod) -> None:
        """Look a period's payments up later."""
        if period.bills:
            self._periods.append(period)
            self.periods_billed += len(period.bills)

    def answer(self) -> None:
        """Look up all that was asked, and forget it."""
        found = {EventRef(row.stream, row.version): row for row in self._log.at(self._granted)}
        for ref, says in self._granted.items():
            row = found.get(ref)
            self._answer_grant(ref, says, row.event if row else None)
        revoked = self._revoked()
        for audit in self._moved:
            for move in audit.moves:
                self._answer_move(audit, move, revoked)
        payments = self._payments()
        for period in self._periods:
            for bill in period.bills.values():
                self._answer_bill(period, bill, payments)
        self._granted, self._moved, self._periods = {}, [], []

    def _answer_grant(
        self, ref: EventRef, says: tuple[str, str, int, str | None], granted: Event | None
    ) -> None:
        witness = Witness(self._findings, "log", f"payment {says[0]}")
        found = None
        if isinstance(granted, e.Granted):
            found = (granted.payment_id, granted.asset, granted.amount, granted.customer_id)
        grant_id = ids.event_id(ids.GRANT, ids.stream_key(ref.stream), ref.version)
        witness.expect(f"its grant {grant_id}", says, found)

    def _revoked(self) -> _Revoked:
        """The story of every grant whose payment had something to lose."""
        trails = {
            ids.trail_id(grant.grant_id): grant.grant_id
            for audit in self._moved
            for grant in audit.payment.grants
        }
        return {
            trails[stream]: [
                (row.position, row.event.revoked)
                for row in rows
                if isinstance(row.event, e.GrantRevised)
            ]
            for stream, rows in groupby(
                self._log.of_streams(trails.keys()), key=lambda row: row.stream
            )
        }

    def _answer_move(self, audit: PaymentAudit, move: Move, revoked: _Revoked) -> None:
        """What is revoked of an asset was brought to the target, as far as the rule may.

        Up to the target whoever revoked it; down to it only what the rule itself had taken.
        """
        payment = audit.payment
        place = f"payment {payment.payment_id} after position {move.since}"
        witness = Witness(self._findings, "log", place, payment.customer_id)
        for asset in move.targets_before.keys() | move.targets.keys():
            target = move.targets.get(asset, 0)
            up = target - move.targets_before.get(asset, 0)
            if not up:
                continue
            grants = [grant.grant_id for grant in move.grants if grant.asset == asset]
            before = sum(_at(revoked.get(grant, ()), move.since) for grant in grants)
            after = sum(_at(revoked.get(grant, ()), move.until) for grant in grants)
            own = sum(
                min(move.removed_before.get(grant, 0), _at(revoked.get(grant, ()), move.since))
                for grant in grants
            )
            expected = max(before, target) if up > 0 else min(before, max(target, before - own))
            witness.expect(f"{asset} revoked, for a target of {target}", expected, after)
            removed = sum(move.removed.get(grant, 0) for grant in grants)
            witness.expect(f"{asset} removed by it", own + expected - before, removed)

    def _payments(self) -> Mapping[UUID, PaymentAudit]:
        """The payments of all periods that were asked for, from their events."""
        streams = {
            ids.payment_stream(period.provider, bill.provider_id)
            for period in self._periods
            for bill in period.bills.values()
        }
        rows = self._log.of_streams(streams)
        return {
            stream: _payment(stream, events)
            for stream, events in groupby(rows, key=lambda row: row.stream)
        }

    def _answer_bill(
        self, period: BillingPeriod, bill: Bill, payments: Mapping[UUID, PaymentAudit]
    ) -> None:
        end = period.period_end
        place = f"period of {period.subscription_id} up to {end and end.isoformat()}"
        witness = Witness(self._findings, "log", place)
        audit = payments.get(ids.payment_stream(period.provider, bill.provider_id))
        if audit is None or not audit.payment.granted:
            witness.report(f"its payment {bill.provider_id}", "one that was granted", "none")
            return
        lines = [
            (line.price_id, line.asset, -line.credits if line.credited else line.credits,
             line.proration)
            for line in bill.lines
        ]  # fmt: skip
        witness.expect(f"what {bill.provider_id} pays for", lines, audit.paid_for(end))
        allotted = allot(period.bills.values())[bill.provider_id]
        expected = {asset: amount for asset, amount in allotted.items() if amount}
        witness.expect(f"what {bill.provider_id} is allotted", expected, audit.allotted(end))


def _payment(stream: UUID, rows: Iterable[Stored]) -> PaymentAudit:
    """A payment from its events as far as they can be read; what is wrong with it is told by its
    own audit.
    """
    audit = PaymentAudit(stream, Findings())
    for row in rows:
        if not isinstance(row.event, PaymentEvent):
            break
        audit.take_in(row.position, row.event)
    return audit


def _at(story: Sequence[tuple[int, int]], position: int) -> int:
    """What was revoked of a grant at a position of the log."""
    return next((revoked for place, revoked in reversed(story) if place <= position), 0)
