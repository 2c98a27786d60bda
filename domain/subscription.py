"""Subscriptions: what plan a customer has at a provider, as the provider tells it.

Plan state alone: credits come from paid bills, and nothing is taken away when a subscription ends.
Every report is kept, whatever the order in which they come; the newest one stands.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from creditledger.domain import ids, waiting
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.books import Books
from creditledger.domain.errors import Parked
from creditledger.domain.events import Event
from creditledger.domain.link import learn_owner, owner_of
from creditledger.domain.provider_commands import (
    Provider,
    ReportSubscription,
    SubscriptionState,
)
from creditledger.domain.values import value

_EARLIEST = datetime.min.replace(tzinfo=UTC)

#: The stages of a life in their usual order; a word that is not here stands in the middle.
_STAGES = {
    "incomplete": 0,
    "trialing": 1,
    "active": 2,
    "past_due": 3,
    "unpaid": 4,
    "paused": 4,
    "incomplete_expired": 5,
    "canceled": 5,
}


@value(kw_only=True)
class SubscriptionReported(Event):
    """The provider told how a subscription stood at `as_of`.

    `stands` says whether it is the newest report so far; an older one is history.
    """

    TOPIC: ClassVar[str] = "creditledger.SubscriptionReported"

    provider: Provider
    subscription_id: str
    customer_id: str
    provider_customer_id: str | None
    state: SubscriptionState
    as_of: datetime
    stands: bool


SUBSCRIPTION_EVENTS: tuple[type[Event], ...] = (SubscriptionReported,)

#: A report: when, and how the subscription stood.
Report = tuple[datetime, SubscriptionState]


class Subscription(Aggregate):
    """One subscription at a provider; `reports` is all that was told, `newest` what stands."""

    __slots__ = ("customer_id", "newest", "reports")

    EVENTS: ClassVar[tuple[type[Event], ...]] = SUBSCRIPTION_EVENTS

    def __init__(self, stream: UUID) -> None:
        super().__init__(stream)
        self.customer_id: str | None = None
        self.newest: Report | None = None
        self.reports: frozenset[Report] = frozenset()

    def _evolve(self, event: Event) -> None:
        match event:
            case SubscriptionReported():
                report = (event.as_of, event.state)
                self.reports |= {report}
                if event.stands:
                    self.newest = report
                    self.customer_id = event.customer_id


def newness(as_of: datetime, state: SubscriptionState) -> tuple[Any, ...]:
    """Reports in the order in which they stand, the newest last.

    Stripe's times have whole seconds: of two reports of one second the state itself decides, the
    one that is further along in the subscription's life (docs.stripe.com/webhooks warns that
    `created` alone cannot order events).
    """
    period = state.current_period
    return (
        as_of,
        state.ended,
        _EARLIEST if period is None else period.end,
        _STAGES.get(state.status, 2),
        state.cancel_at_period_end,
        state.ended_at or _EARLIEST,
        state.quantity,
        # Whatever is left has no order of its own, but must not depend on which came first.
        repr(state),
    )


def report_subscription(command: ReportSubscription, books: Books) -> dict[str, Any]:
    """Keep how a subscription stood, once. Raises Parked as long as nobody knows whose it is."""
    stream = ids.subscription_stream(command.provider, command.subscription_id)
    subscription = books.get(Subscription, stream)
    owner = owner_of(command, books) or subscription.customer_id
    if owner is None:
        raise Parked(reason="unknown_customer", waits_for=_link_of(command))
    newest = subscription.newest
    if (command.as_of, command.state) not in subscription.reports:
        books.record(
            subscription,
            SubscriptionReported,
            provider=command.provider,
            subscription_id=command.subscription_id,
            customer_id=owner,
            provider_customer_id=command.provider_customer_id,
            state=command.state,
            as_of=command.as_of,
            stands=newest is None or newness(command.as_of, command.state) > newness(*newest),
        )
    learn_owner(command, command.as_of, books)
    return {
        "subscription_id": ids.stream_id(ids.SUBSCRIPTION, stream),
        "customer_id": subscription.customer_id,
        "status": None if subscription.newest is None else subscription.newest[1].status,
    }


def _link_of(command: ReportSubscription) -> str | None:
    if command.provider_customer_id is None:
        return None
    return waiting.link(command.provider, command.provider_customer_id)
