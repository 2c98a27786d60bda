"""Lines of Checkout Sessions and invoices, from a server here that answers as Stripe does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe

from creditledger.consumers.stripe_lines import asked
from creditledger.domain.amounts import Credits
from creditledger.domain.errors import Parked
from creditledger.domain.provider_commands import LearnedPrice, Period, PurchaseLine
from creditledger.infra.stripe_api import StripeApi

SESSION = "cs_test_a1"
INVOICE = "in_1a"


def item(number: int, price: Any, quantity: int | None = 1) -> dict[str, Any]:
    return {
        "id": f"li_{number}",
        "object": "item",
        "amount_total": 100 * number,
        "currency": "usd",
        "price": price,
        "quantity": quantity,
    }


def price(price_id: str, **metadata: str) -> dict[str, Any]:
    return {
        "id": price_id,
        "object": "price",
        "metadata": metadata,
        "nickname": None,
        "recurring": None,
    }


def line(number: int, price: Any, amount: int, **source: Any) -> dict[str, Any]:
    return {
        "id": f"li_{number}",
        "object": "line_item",
        "amount": amount,
        "currency": "usd",
        "description": None,
        "parent": {"invoice_item_details": None, "subscription_item_details": source},
        "period": {"start": 1786786020, "end": 1789378020},
        "pricing": {"price_details": {"price": price, "product": "prod_1"}},
        "quantity": 1,
        "quantity_decimal": "1",
    }


class Stripe(BaseHTTPRequestHandler):
    """Two pages of lines for one session and one invoice; everything else is not found."""

    asked: ClassVar[list[dict[str, list[str]]]] = []
    lines: ClassVar[dict[str, list[dict[str, Any]]]] = {
        f"/v1/checkout/sessions/{SESSION}/line_items": [
            item(1, price("price_1"), quantity=2),
            item(2, price("price_2", credits="40", publicName="Forty", planFamily="packs")),
            item(3, price("price_3")),
            item(4, None, quantity=None),
        ],
        f"/v1/invoices/{INVOICE}/lines": [
            line(1, price("price_1", credits="40"), -900, proration=True),
            line(2, price("price_2"), 1800, proration=True),
            line(3, price("price_2"), 2000, proration=False),
        ],
    }

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.asked.append(query)
        lines = self.lines.get(parts.path)
        found = lines is not None
        after = query.get("starting_after", [None])[0]
        page = (lines or [])[2:] if after == "li_2" else (lines or [])[:2]
        answer = {"object": "list", "url": parts.path, "has_more": after is None, "data": page}
        content = json.dumps(answer if found else {"error": {"message": "no such object"}})
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[StripeApi]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stripe)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield StripeApi("sk_test_x", f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


def test_all_lines_of_a_session_are_read_with_what_each_price_is_worth(api: StripeApi) -> None:
    Stripe.asked.clear()
    forty = LearnedPrice(credits=Credits(40), kind="one_time", name="Forty", plan_family="packs")
    assert asked(api, SESSION) == (
        PurchaseLine(price_id="price_1", quantity=2, amount=100),
        PurchaseLine(price_id="price_2", quantity=1, amount=200, learned=forty),
        PurchaseLine(price_id="price_3", quantity=1, amount=300),
        PurchaseLine(price_id=None, quantity=1, amount=400),
    )
    assert Stripe.asked[0]["expand[0]"] == ["data.price"]
    assert len(Stripe.asked) == 2


def test_all_lines_of_an_invoice_are_read_as_those_of_its_body_are(api: StripeApi) -> None:
    Stripe.asked.clear()
    month = Period(datetime.fromtimestamp(1786786020, UTC), datetime.fromtimestamp(1789378020, UTC))
    learned = LearnedPrice(credits=Credits(40), kind="one_time")
    rest = PurchaseLine(price_id="price_2", amount=1800, period=month, proration=True)
    assert asked(api, INVOICE) == (
        replace(rest, price_id="price_1", amount=-900, learned=learned, credited=True),
        rest,
        replace(rest, amount=2000, proration=False),
    )
    assert Stripe.asked[0]["expand[0]"] == ["data.pricing.price_details.price"]
    assert len(Stripe.asked) == 2


def test_a_line_that_says_something_unknown_is_parked(api: StripeApi) -> None:
    broken = [item(1, price("price_1", credits="some"))]
    with (
        patch.dict(Stripe.lines, {"/v1/checkout/sessions/cs_test_b/line_items": broken}),
        pytest.raises(Parked, match="unknown_value"),
    ):
        asked(api, "cs_test_b")


@pytest.mark.parametrize("object_id", ["cs_test_none", "in_none"])
def test_what_stripe_does_not_know_is_an_error(api: StripeApi, object_id: str) -> None:
    with pytest.raises(stripe.StripeError, match="no such object"):
        asked(api, object_id)
