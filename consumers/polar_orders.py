"""Polar's orders and refunds as commands.

A purchase is named by its order. Every order body is a snapshot of all there is to say: what was
bought, whether it is paid, and how much of it is refunded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final, cast

from creditledger.consumers.polar_catalogue import learned_of_product, quantity
from creditledger.consumers.polar_periods import period_of_order
from creditledger.consumers.reading import Ignored, Reader, Told, moment_of, period
from creditledger.domain.provider_commands import (
    Period,
    PurchaseLine,
    RecordPurchase,
    RefundStatus,
    RefundTotal,
    ReportRefund,
)

_PURCHASE: Final = "purchase"

#: The bill for what was used in a part of a period: it pays for no plan.
_METER_CYCLE: Final = "subscription_meter_cycle"

#: The bill for a change of the plan, made at once.
_UPDATE: Final = "subscription_update"

_REASONS: Final = frozenset(
    {
        _PURCHASE,
        "subscription_create",
        "subscription_cycle",
        _METER_CYCLE,
        _UPDATE,
    }
)
_STATUSES: Final = frozenset({"draft", "pending", "paid", "refunded", "partially_refunded", "void"})
_REFUND_STATUSES: Final = frozenset({"pending", "succeeded", "failed", "canceled"})

#: How Polar begins the label of an item that gives back the rest of a plan, in every language.
_REMAINING: Final = "Remaining time on "

#: How the label of an item names a change of seats or units: one item pays for the difference.
_CHANGE: Final = re.compile(r"\(([0-9]{1,9}) → ([0-9]{1,9})\b")

#: What may follow the product's name in the label of its item.
_AFTER_NAME: Final = (" — ", " (")


def order(envelope: Reader, of: Reader) -> Told | Ignored:
    """An order as it stood when the event was made; what is not paid says nothing yet."""
    reason = of.one_of("billing_reason", _REASONS)
    of.one_of("status", _STATUSES)
    if not of.flag("paid"):
        return Ignored("not_paid")
    if reason != _PURCHASE and of.signed("total_amount") <= 0:
        return Ignored("zero_total")
    return Told((_purchase(envelope, of, reason),))


def refund(envelope: Reader, of: Reader) -> Told | Ignored:
    """One refund, kept with its order, whose own snapshots say how much is refunded in all."""
    order_id = of.id_or_none("order_id")
    if order_id is None:
        return Ignored("no_payment_named")
    report = ReportRefund(
        provider="polar",
        provider_id=order_id,
        refund_id=of.id("id"),
        amount=of.money("amount"),
        status=cast(RefundStatus, of.one_of("status", _REFUND_STATUSES)),
        counted=False,
        happened_at=moment_of(of) or envelope.time("timestamp"),
    )
    return Told((report,))


def _purchase(envelope: Reader, of: Reader, reason: str) -> RecordPurchase:
    customer = of.object_or_none("customer") or Reader({}, of.path("customer"))
    created_at = of.time("created_at")
    # A balance that is owed can make this negative; nothing was paid then.
    paid = max(0, of.integer("net_amount") + of.signed("applied_balance_amount"))
    return RecordPurchase(
        provider="polar",
        provider_id=of.id("id"),
        provider_customer_id=customer.id_or_none("id") or of.id_or_none("customer_id"),
        customer_id=customer.customer_id_or_none("external_id"),
        lines=tuple(_lines(of, reason, created_at)),
        paid=of.money("net_amount", paid),
        # The same in every snapshot of the order, so that its expiry rests on no delivery.
        paid_at=created_at,
        refund_total=RefundTotal(
            amount=of.integer("refunded_amount"),
            as_of=of.time_or_none("modified_at") or created_at,
            told_at=envelope.time_or_none("timestamp"),
        ),
        happened_at=created_at,
        subscription_id=None if reason == _PURCHASE else of.id("subscription_id"),
    )


def _lines(of: Reader, reason: str, created_at: datetime) -> Iterator[PurchaseLine]:
    product = of.object_or_none("product")
    learned = None if product is None else learned_of_product(product)
    name = None if product is None else product.word("name")
    begun = _plan_period(of, created_at, within=False)
    # A change that was put off to the next order lies in the period before that one's.
    changed = _plan_period(of, created_at, within=True) if reason == _UPDATE else None
    for item in of.objects("items"):
        line = _line(item)
        if reason == _PURCHASE:
            if line.proration:
                raise item.unknown("proration", "false in a purchase")
            yield replace(line, quantity=quantity(of), learned=learned)
        elif line.proration:
            change = replace(
                line,
                quantity=quantity(of),
                learned=learned if _names(item, name) else None,
                period=line.period or changed,
            )
            yield from _changed(item, change)
        elif reason == _METER_CYCLE or _in_arrears(item, created_at):
            yield line
        else:
            yield replace(
                line,
                quantity=quantity(of),
                learned=learned if _names(item, name) else None,
                period=line.period or begun,
            )


def _line(item: Reader) -> PurchaseLine:
    amount, proration = item.signed("amount"), item.flag("proration")
    # The rest of a free plan is given back with an amount of zero, which has no sign.
    given_back = amount == 0 and (item.word("label") or "").startswith(_REMAINING)
    return PurchaseLine(
        price_id=item.id_or_none("product_price_id"),
        amount=amount,
        period=period(item.time_or_none("start_timestamp"), item.time_or_none("end_timestamp")),
        proration=proration,
        credited=amount < 0 or (proration and given_back),
    )


def _changed(item: Reader, line: PurchaseLine) -> Iterator[PurchaseLine]:
    """A change of seats as two lines: the old number is given back, and the new one paid for."""
    change = _CHANGE.search(item.word("label") or "")
    if change is None or line.amount is None:
        yield line
        return
    before, after = map(int, change.groups())
    yield replace(line, quantity=before, amount=min(0, line.amount), credited=True)
    yield replace(line, quantity=after, amount=max(0, line.amount), credited=False)


def _names(item: Reader, product: str | None) -> bool:
    """Whether an item is one of the order's product, whose metadata then says what it is worth.

    An order may hold items of the plan that was left, and of what was used.
    """
    label = (item.word("label") or "").removeprefix(_REMAINING)
    if product is None or not label.startswith(product):
        return False
    rest = label.removeprefix(product)
    return not rest or rest.startswith(_AFTER_NAME)


def _in_arrears(item: Reader, created_at: datetime) -> bool:
    """Whether an item was billed after its time, as only what was used is."""
    end = item.time_or_none("end_timestamp")
    return end is not None and end <= created_at


def _plan_period(of: Reader, created_at: datetime, *, within: bool) -> Period | None:
    """The period that a plan's item pays for, where it does not say so itself."""
    subscription = of.object_or_none("subscription")
    return (
        None if subscription is None else period_of_order(subscription, created_at, within=within)
    )
