"""Lines of Stripe's invoices and Checkout Sessions, as bodies and the API tell them."""

from __future__ import annotations

from creditledger.consumers.reading import Reader, period
from creditledger.consumers.stripe_catalogue import learned_price
from creditledger.domain.provider_commands import LearnedPrice, Period, PurchaseLine
from creditledger.infra.stripe_api import StripeApi

#: How Stripe begins the text of a line that gives back the rest of a plan, in English.
_UNUSED = "Unused time on"


def asked(api: StripeApi, object_id: str) -> tuple[PurchaseLine, ...]:
    """What was bought, asked of the API by the id of a Checkout Session or an invoice.

    Raises stripe.StripeError, and Parked where a line says something unknown.
    """
    if object_id.startswith("in_"):
        return tuple(invoice_line(Reader(line)) for line in api.invoice_lines(object_id))
    return tuple(_session_line(Reader(item)) for item in api.session_lines(object_id))


def invoice_line(line: Reader) -> PurchaseLine:
    """One line of an invoice."""
    pricing = line.object_or_none("pricing")
    priced = None if pricing is None else pricing.object_or_none("price_details")
    source = _source(line)
    proration = source is not None and bool(source.flag_or_none("proration"))
    return PurchaseLine(
        price_id=None if priced is None else priced.id_or_none("price"),
        quantity=_quantity(line),
        amount=line.signed("amount"),
        learned=None if priced is None else _learned(priced),
        period=_period(line),
        proration=proration,
        credited=_credited(line, source, proration=proration),
    )


def _session_line(item: Reader) -> PurchaseLine:
    return PurchaseLine(
        price_id=item.id_or_none("price"),
        quantity=_quantity(item),
        amount=item.signed("amount_total"),
        learned=_learned(item),
    )


def _source(line: Reader) -> Reader | None:
    """What made the line: an item of the subscription, or an invoice item."""
    parent = line.object_or_none("parent")
    if parent is None:
        return None
    return parent.object_or_none("subscription_item_details") or parent.object_or_none(
        "invoice_item_details"
    )


def _credited(line: Reader, source: Reader | None, *, proration: bool) -> bool:
    if line.signed("amount") < 0:
        return True
    if source is None or not proration:
        return False
    details = source.object_or_none("proration_details")
    if details is not None and details.object_or_none("credited_items") is not None:
        return True
    # The rest of a free plan is given back with an amount of zero, which has no sign.
    free = line.signed("amount") == 0
    return free and (line.word("description") or "").startswith(_UNUSED)


def _period(line: Reader) -> Period | None:
    """The time that a line pays for; what is bought for good has one without length."""
    told = line.object_or_none("period")
    return None if told is None else period(told.seconds("start"), told.seconds("end"))


def _quantity(line: Reader) -> int:
    quantity = line.number_or_none("quantity", minimum=0)
    return 1 if quantity is None else quantity


def _learned(line: Reader) -> LearnedPrice | None:
    """What the price says that it is worth, where it stands in the line instead of its id."""
    price = line.expanded_or_none("price")
    return None if price is None else learned_price(price)
