"""What is told of one thing several times: whatever the order, the same report stands."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from creditledger.domain.amounts import Credits
from creditledger.domain.commands import Command
from creditledger.domain.payment_events import DisputeReported, RefundReported
from creditledger.domain.price import PriceReported
from creditledger.domain.product import ProductReported
from creditledger.domain.provider_commands import LearnedPrice, ReportPrice, ReportProduct
from plan_story import BEGIN, bill, dispute, whole
from plan_story import PRICES as PLAN_PRICES
from purchase_story import PACK_IS_500, Story, purchase, refund

BOUGHT = (*PLAN_PRICES, PACK_IS_500, purchase(), bill("in_1", 0, whole("starter")))


def product(name: str, hours: int, **changes: Any) -> ReportProduct:
    """A product, as it stood so many hours after the period began."""
    fields: dict[str, Any] = {
        "provider": "stripe",
        "product_id": "prod_1",
        "name": name,
        "active": True,
        "plan_family": None,
        "version": None,
        "as_of": BEGIN + timedelta(hours=hours),
    }
    return ReportProduct(**{**fields, **changes})


def price(credits: int | None, hours: int, *, product_id: str = "prod_1") -> ReportPrice:
    """A price, as it stood so many hours after the period began."""
    learned = None
    if credits is not None:
        learned = LearnedPrice(credits=Credits(credits), kind="recurring")
    return ReportPrice(
        provider="stripe",
        price_id="price_new",
        product_id=product_id,
        active=True,
        learned=learned,
        as_of=BEGIN + timedelta(hours=hours),
    )


REPORTS: dict[str, tuple[type[Any], tuple[Command, ...]]] = {
    "a product that is called what it was called before": (
        ProductReported,
        (product("One", 1), product("Two", 2), product("One", 3)),
    ),
    "two words on a product in one moment": (
        ProductReported,
        (product("One", 1), product("Two", 1), product("Two", 1, active=False)),
    ),
    "a price that is worth what it was worth before": (
        PriceReported,
        (price(100, 1), price(200, 2), price(100, 3)),
    ),
    "a price that says no more what it is worth": (
        PriceReported,
        (price(100, 1), price(None, 2)),
    ),
    "two words on a price in one moment": (
        PriceReported,
        (price(100, 1), price(100, 1, product_id="prod_2"), price(None, 1)),
    ),
    "a dispute that ends, ends otherwise, and ends as before": (
        DisputeReported,
        (
            dispute("in_1", "lost", 1),
            dispute("in_1", "won", 2),
            dispute("in_1", "lost", 3),
        ),
    ),
    "a dispute that is looked at": (
        DisputeReported,
        (
            dispute("in_1", "open", 1, status="needs_response"),
            dispute("in_1", "open", 2, status="under_review"),
            dispute("in_1", "open", 3, status="needs_response"),
        ),
    ),
    "a refund that needs the customer": (
        RefundReported,
        (refund("re_1", 100, "pending"), refund("re_1", 100, "requires_action")),
    ),
    "a refund that ended twice": (
        RefundReported,
        (refund("re_1", 100, "failed"), refund("re_1", 100, "canceled")),
    ),
}


def standing(kind: type[Any], reports: tuple[Command, ...]) -> Any:
    """What the last report says that was kept, as it was told."""
    story = Story(*BOUGHT)
    for report in (*reports, *reports):
        story.tell(report)
    event = story.events(kind)[-1]
    return {
        name: getattr(event, name)
        for name in ("amount", "standing", "status", "name", "active", "learned", "product_id")
        if hasattr(event, name)
    }


@pytest.mark.parametrize("what", REPORTS)
def test_the_same_report_stands_in_every_order(what: str) -> None:
    kind, reports = REPORTS[what]
    expected = standing(kind, reports)
    for order in permutations(reports):
        assert standing(kind, order) == expected
