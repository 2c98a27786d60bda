"""Polar's subscriptions as commands: the state of a plan, which grants nothing by itself."""

from __future__ import annotations

from typing import Final

from creditledger.consumers.polar_catalogue import is_usage, quantity
from creditledger.consumers.reading import Ignored, Reader, Told, moment_of, period
from creditledger.domain.provider_commands import ReportSubscription, SubscriptionState

#: What never bills again. Other words for a status are kept as they are, known or not: nothing
#: else is concluded from them.
_ENDED: Final = frozenset({"canceled", "incomplete_expired"})


def subscription(envelope: Reader, of: Reader) -> Told | Ignored:
    """A subscription as it stood when the event was made."""
    at = envelope.time_or_none("timestamp") or moment_of(of) or envelope.time("timestamp")
    customer = of.object_or_none("customer") or Reader({}, of.path("customer"))
    report = ReportSubscription(
        provider="polar",
        subscription_id=of.id("id"),
        provider_customer_id=customer.id_or_none("id") or of.id_or_none("customer_id"),
        customer_id=customer.customer_id_or_none("external_id"),
        state=_state(of),
        as_of=at,
        happened_at=at,
    )
    return Told((report,))


def _state(of: Reader) -> SubscriptionState:
    status, ended_at = of.id("status"), of.time_or_none("ended_at")
    pending = of.object_or_none("pending_update")
    return SubscriptionState(
        status=status,
        price_id=_price_id(of),
        quantity=quantity(of),
        cancel_at_period_end=bool(of.flag_or_none("cancel_at_period_end")),
        current_period=period(
            of.time_or_none("current_period_start"), of.time_or_none("current_period_end")
        ),
        ended=status in _ENDED or ended_at is not None,
        started_at=of.time_or_none("started_at"),
        trial_ends_at=of.time_or_none("trial_end"),
        ends_at=of.time_or_none("ends_at"),
        ended_at=ended_at,
        pending_product_id=None if pending is None else pending.id_or_none("product_id"),
    )


def _price_id(of: Reader) -> str | None:
    """The price of the plan: the first that is not billed after use, else the first."""
    prices = list(of.objects("prices"))
    plan = next((price for price in prices if not is_usage(price)), prices[0] if prices else None)
    return None if plan is None else plan.id("id")
