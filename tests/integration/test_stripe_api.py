"""Line items of a Checkout Session, from a server on this machine that answers as Stripe does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe

from creditledger.domain.amounts import Credits
from creditledger.domain.provider_commands import LearnedPrice, PurchaseLine
from creditledger.infra.stripe_api import StripeApi

SESSION = "cs_test_a1"


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


class Stripe(BaseHTTPRequestHandler):
    """Two pages of line items; everything else is not found."""

    asked: ClassVar[list[dict[str, list[str]]]] = []
    items: ClassVar[list[dict[str, Any]]] = [
        item(1, price("price_1"), quantity=2),
        item(2, price("price_2", credits="40", publicName="Forty", planFamily="packs")),
        item(3, price("price_3", credits="some")),
        item(4, None, quantity=None),
    ]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.asked.append(query)
        found = parts.path == f"/v1/checkout/sessions/{SESSION}/line_items"
        after = query.get("starting_after", [None])[0]
        page = self.items[2:] if after == "li_2" else self.items[:2]
        answer = {"object": "list", "url": parts.path, "has_more": after is None, "data": page}
        content = json.dumps(answer if found else {"error": {"message": "no such session"}})
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


def test_all_pages_are_read_with_what_each_price_is_worth(api: StripeApi) -> None:
    Stripe.asked.clear()
    forty = LearnedPrice(
        credits=Credits(40), kind="one_time", name="Forty", plan_family="packs", version=None
    )
    assert api.line_items(SESSION) == [
        PurchaseLine(price_id="price_1", quantity=2, amount=100),
        PurchaseLine(price_id="price_2", quantity=1, amount=200, learned=forty),
        PurchaseLine(price_id="price_3", quantity=1, amount=300),
        PurchaseLine(price_id=None, quantity=1, amount=400),
    ]
    assert Stripe.asked[0]["expand[0]"] == ["data.price"]
    assert len(Stripe.asked) == 2


def test_a_session_that_stripe_does_not_know_is_an_error(api: StripeApi) -> None:
    with pytest.raises(stripe.StripeError, match="no such session"):
        api.line_items("cs_test_none")
