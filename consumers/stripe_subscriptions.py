"""Stripe's subscriptions as commands: the state of a plan, which grants nothing by itself."""

from __future__ import annotations

from typing import Final

from creditledger.consumers.reading import Ignored, Reader, Told, period
from creditledger.consumers.stripe_catalogue import is_usage
from creditledger.domain.provider_commands import Period, ReportSubscription, SubscriptionState

#: What never bills again. Other words for a status are kept as they are, known or not: nothing
#: else is concluded from them.
_ENDED: Final = frozenset({"canceled", "incomplete_expired"})


def subscription(envelope: Reader, of: Reader) -> Told | Ignored:
    """A subscription as it stood when the event was made."""
    at = envelope.seconds("created")
    report = ReportSubscription(
        provider="stripe",
        subscription_id=of.id("id"),
        provider_customer_id=of.id_or_none("customer"),
        customer_id=of.metadata().customer_id_or_none("ledger_account"),
        state=_state(of),
        as_of=at,
        happened_at=at,
    )
    return Told((report,))


def _state(of: Reader) -> SubscriptionState:
    status, ended_at = of.id("status"), of.seconds_or_none("ended_at")
    item = _plan_item(of)
    quantity = None if item is None else item.number_or_none("quantity", minimum=0)
    return SubscriptionState(
        status=status,
        price_id=None if item is None else item.id_or_none("price"),
        quantity=1 if quantity is None else quantity,
        cancel_at_period_end=bool(of.flag_or_none("cancel_at_period_end")),
        current_period=None if item is None else _period(item),
        ended=status in _ENDED or ended_at is not None,
        started_at=of.seconds_or_none("start_date"),
        trial_ends_at=of.seconds_or_none("trial_end"),
        ends_at=of.seconds_or_none("cancel_at"),
        ended_at=ended_at,
    )


def _plan_item(of: Reader) -> Reader | None:
    """The item that is the plan: the first that is not billed after use, else the first."""
    items = list(of.object("items").objects("data"))
    licensed = (item for item in items if not _is_usage(item))
    return next(licensed, items[0] if items else None)


def _is_usage(item: Reader) -> bool:
    price = item.expanded_or_none("price")
    return price is not None and is_usage(price)


def _period(item: Reader) -> Period | None:
    return period(
        item.seconds_or_none("current_period_start"), item.seconds_or_none("current_period_end")
    )
