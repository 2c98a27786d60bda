"""Stories in bodies as the providers send them, told to a ledger in memory in any order.

What cannot be booked yet is parked, and tried again after everything that was booked; so the end
of a story is what the service comes to, without its database.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from creditledger.consumers.reading import Ignored
from creditledger.domain.account import CreditAccount
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.commands import Command
from creditledger.domain.due import evaluate
from creditledger.domain.errors import Parked
from creditledger.domain.link import Link
from creditledger.domain.payment import Payment
from creditledger.domain.price import Price
from creditledger.domain.product import Product
from creditledger.domain.receipt import Receipt
from creditledger.domain.subscription import Subscription
from memory_log import audit
from memory_store import MemoryStore
from provider_bodies import PLANS, PRICES, changed, event
from purchase_story import Story
from translating import translated

#: In the middle of a period of both subscriptions; what is dated later is booked as of now.
MID_PERIOD = datetime(2026, 10, 5, tzinfo=UTC)
#: When all that subscriptions brought has expired.
LATE = datetime(2026, 12, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Body:
    """A body by its name, and by what was changed in it."""

    name: str
    text: str = field(repr=False)

    def as_delivered(self) -> bytes:
        """Its bytes, with an id of its own, as each event of a provider has one."""
        content = json.loads(self.text)
        if "id" in content:
            content["id"] = f"evt_{sha256(self.text.encode()).hexdigest()[:24]}"
        return json.dumps(content).encode()


def told(name: str) -> Body:
    """One of the made bodies by its name."""
    return Body(name, json.dumps(event(name)))


def altered(name: str, envelope: dict[str, Any] | None = None, **fields: Any) -> Body:
    """One of the made bodies with other values."""
    return Body(f"{name} {envelope or ''} {fields}", changed(name, envelope, **fields).decode())


class NewsDesk(Story):
    """A story in bodies. Parked ones wait in `parked`; `now` stands still."""

    def __init__(
        self, bodies: Iterable[Body], *, now: datetime = MID_PERIOD, known: Sequence[Command] = ()
    ) -> None:
        super().__init__(*(known or (*PRICES, *PLANS)))
        self.now = now
        self.parked: list[Body] = []
        for body in bodies:
            self.deliver(body)

    def deliver(self, body: Body) -> None:
        """Book a body, or park it; then try again what is parked, until nothing moves."""
        if not self._booked(body):
            self.parked.append(body)
            return
        before = -1
        while self.parked and len(self.parked) != before:
            before = len(self.parked)
            self.parked = [parked for parked in self.parked if not self._booked(parked)]

    def _booked(self, body: Body) -> bool:
        try:
            found = translated(json.loads(body.text))
        except Parked:
            return False
        if isinstance(found, Ignored):
            return True
        for command in found.commands:
            if command.happened_at is not None and command.happened_at > self.now:
                object.__setattr__(command, "happened_at", self.now)
            outcome = self.outcome(command)
            if isinstance(outcome, Parked):
                return False
            assert isinstance(outcome, Receipt), outcome
            assert outcome.outcome == "accepted", outcome.answer
            if "waits_for" in outcome.answer:
                return False
        return True

    def aggregates(self, kind: type[Aggregate]) -> list[Any]:
        """All aggregates of a kind, from their events."""
        return aggregates(self.store, kind)

    def ending(self) -> dict[str, Any]:
        """All that the news have come to; ids, positions and recorded times aside.

        Proved by the walk of `creditledger verify` through the log.
        """
        audit(self.store, self.now)
        return ending(self.store, self.now) | {"parked": sorted(self.parked)}

    def net(self) -> dict[str, int]:
        """What each payment has granted, less what was taken of its grants in all."""
        taken = {
            trail_id: amount
            for payment in self.aggregates(Payment)
            for trail_id, amount in payment.removed.items()
        }
        return {
            payment.provider_id: sum(
                grant.amount - taken.get(grant.grant_id, 0) for grant in payment.grants
            )
            for payment in sorted(self.aggregates(Payment), key=lambda p: str(p.provider_id))
            if payment.granted
        }


def aggregates(log: MemoryStore, kind: type[Aggregate]) -> list[Any]:
    """All aggregates of a kind in a log, from their events."""
    found = []
    for stream, events in log.streams.items():
        if events and isinstance(events[0], kind.EVENTS):
            aggregate = kind(stream)
            for event_ in events:
                aggregate.apply(event_)
            found.append(aggregate)
    return found


def ending(log: MemoryStore, at: datetime, *, beside: Collection[str] = ()) -> dict[str, Any]:
    """What a log has come to at a moment; ids, positions and recorded times aside.

    What these customers have who are `beside` the story is left out.
    """

    def theirs(kind: type[Aggregate]) -> list[Any]:
        return [one for one in aggregates(log, kind) if one.customer_id not in beside]

    return {
        "accounts": sorted(_account(evaluate(account, at)) for account in theirs(CreditAccount)),
        "payments": sorted(_payment(payment) for payment in theirs(Payment) if payment.paid),
        "subscriptions": sorted(map(_subscription, theirs(Subscription))),
        "links": sorted((str(link.id), link.customer_id) for link in theirs(Link)),
        "prices": sorted((str(p.id), repr(p.terms)) for p in aggregates(log, Price)),
        "products": sorted(
            (p.reported.product_id, p.reported.name, p.reported.active)
            for p in aggregates(log, Product)
        ),
    }


def _account(account: CreditAccount) -> tuple[Any, ...]:
    lots = sorted(
        (lot.source, lot.priority, str(lot.expires_at), lot.remaining)
        for lot in account.lots.burn_order()
    )
    return (account.customer_id, account.asset, str(account.balance()), lots)


def _payment(payment: Payment) -> tuple[Any, ...]:
    refunds = sorted(
        (name, refund.amount, refund.status) for name, refund in payment.refunds.items()
    )
    disputes = sorted((name, d.amount, d.standing) for name, d in payment.disputes.items())
    return (
        payment.provider_id,
        payment.customer_id,
        payment.status,
        str(payment.paid),
        str(payment.paid_at),
        payment.refunded,
        payment.disputed,
        sorted((asset, amount) for asset, amount in payment.allotted().items() if amount),
        refunds,
        disputes,
    )


def _subscription(subscription: Subscription) -> tuple[Any, ...]:
    reports = sorted((str(as_of), repr(state)) for as_of, state in subscription.reports)
    return (str(subscription.id), subscription.customer_id, repr(subscription.newest), reports)
