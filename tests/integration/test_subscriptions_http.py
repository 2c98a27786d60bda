"""Subscriptions, disputed payments and the catalogue over HTTP, from the providers' own bodies."""

from __future__ import annotations

import pytest

from provider_bodies import PLANS, STRIPE_NEST, TERN, changed, event
from webhook_caller import Caller, assert_problem
from webhook_desk import eventually

CREATED = "stripe.customer.subscription.created.active"
UPGRADED = "stripe.customer.subscription.updated.upgrade"
INVOICE = "stripe.invoice.paid.subscription_create"
INVOICE_PAYMENT = "stripe.invoice_payment.paid.subscription_create"
DISPUTED = "stripe.charge.dispute.created.fraudulent"
WON = "stripe.charge.dispute.closed.won"
PRODUCT = "stripe.product.created.pack"
PRICE = "stripe.price.created.one_time_metadata"

SUBSCRIPTION = event(CREATED)["data"]["object"]["id"]
INTENT = event(INVOICE_PAYMENT)["data"]["object"]["payment"]["payment_intent"]
PAID = event(INVOICE)["data"]["object"]["amount_paid"]


@pytest.fixture
def working(working: Caller) -> Caller:
    """The API with everything behind it, and the plans' prices entered."""
    for plan in PLANS:
        path = f"/v1/prices/{plan.provider}/{plan.price_id}"
        answer = working.ask("PUT", path, json={"credits": plan.credits, "kind": plan.kind})
        assert answer.status_code == 200, answer.text
    return working


def test_a_subscription_and_what_was_paid_for_it(working: Caller) -> None:
    for name in (UPGRADED, INVOICE, CREATED):
        working.stripe(name)
    path = f"/v1/subscriptions?provider=stripe&provider_id={SUBSCRIPTION}"
    eventually(
        lambda: (
            [len(s["history"]) for s in working.get(path)["subscriptions"]] == [2]
            and bool(working.get("/v1/payments?status=paid")["payments"])
        )
    )
    [found] = working.get(path)["subscriptions"]
    assert (found["customer_id"], found["status"], found["quantity"]) == (TERN, "active", 1)
    assert found["history"][0]["price_id"] == STRIPE_NEST
    assert found["history"][1]["price_id"] == found["price_id"] != STRIPE_NEST
    subscription_id = found["subscription_id"]
    assert working.get(f"/v1/subscriptions/{subscription_id}") == found
    assert working.get(f"/v1/subscriptions?customer_id={TERN}")["subscriptions"] == [found]
    assert working.get("/v1/subscriptions?status=canceled")["subscriptions"] == []
    [payment] = working.get(f"/v1/payments?subscription_id={subscription_id}")["payments"]
    assert (payment["subscription_id"], payment["granted"]) == (subscription_id, 700)
    [line] = payment["lines"]
    [grant] = payment["grants"]
    granted = working.get(f"/v1/grants/{grant['grant_id']}")
    assert (granted["payment_id"], granted["source"]) == (payment["payment_id"], "subscription")
    assert granted["expires_at"] == line["period"]["end"]
    assert granted["cost_basis"] == {"amount": PAID, "currency": payment["currency"]}


def test_a_dispute_takes_credits_and_gives_them_back(working: Caller) -> None:
    def disputed(name: str) -> bytes:
        return changed(name, payment_intent=INTENT, amount=PAID)

    def payment() -> tuple[str, int, int]:
        [found] = working.get("/v1/payments")["payments"]
        return (found["status"], found["disputed"], found["revoked"])

    for content in (disputed(DISPUTED), INVOICE_PAYMENT, INVOICE):
        working.stripe(content)
    eventually(lambda: bool(working.get("/v1/payments?status=disputed")["payments"]))
    eventually(lambda: payment() == ("disputed", PAID, 700))
    working.stripe(disputed(WON))
    eventually(lambda: payment() == ("paid", 0, 0))
    [found] = working.get("/v1/payments")["payments"]
    [dispute] = found["disputes"]
    assert (dispute["standing"], dispute["status"], dispute["amount"]) == ("won", "won", PAID)


def test_the_catalogue_shows_what_it_does_not_say_the_worth_of(working: Caller) -> None:
    content = event(PRICE)["data"]["object"]
    working.stripe(changed(PRICE, metadata={}))
    working.stripe(PRODUCT)
    path = f"/v1/prices?product_id={content['product']}"
    eventually(
        lambda: bool(working.get(path)["prices"] and working.get("/v1/products")["products"])
    )
    [price] = working.get(path)["prices"]
    assert (price["price_id"], price["active"]) == (content["id"], True)
    assert (price["credits"], price["asset"], price["kind"]) == (None, None, None)
    [product] = working.get("/v1/products?provider=stripe")["products"]
    assert (product["product_id"], product["name"]) == (content["product"], "Pack of credits")


def test_an_unknown_subscription_is_404(caller: Caller) -> None:
    for subscription_id in (SUBSCRIPTION, "sub_" + "0" * 26, "pay_" + "0" * 26):
        answer = caller.ask("GET", f"/v1/subscriptions/{subscription_id}")
        assert_problem(answer, 404, "subscription_not_found")
        assert answer.json()["subscription_id"] == subscription_id


@pytest.mark.parametrize(
    "path",
    [
        "/v1/subscriptions?provider=cash",
        "/v1/subscriptions?provider_id=a%20b",
        "/v1/subscriptions?limit=0",
        "/v1/subscriptions?cursor=x",
        "/v1/subscriptions?page=2",
        "/v1/products?provider=cash",
        "/v1/products?cursor=x",
        "/v1/prices?product_id=",
    ],
)
def test_a_filter_that_does_not_fit_is_422(caller: Caller, path: str) -> None:
    assert_problem(caller.ask("GET", path), 422, "invalid_request")


def test_each_needs_a_key_that_may_read(caller: Caller) -> None:
    nobody = Caller(caller.api, caller.provider, caller.provider)
    paths = ("/v1/subscriptions", "/v1/subscriptions/sub_x", "/v1/products")
    with caller.api.client_with("commands") as person:
        commanding = Caller(caller.api, caller.provider, person)
        for path in paths:
            assert_problem(nobody.ask("GET", path), 401, "unauthenticated")
            assert_problem(commanding.ask("GET", path), 403, "forbidden")


def test_the_manual_names_them(caller: Caller) -> None:
    manual = caller.ask("GET", "/docs").text
    for path in ("/v1/subscriptions/{subscription_id}", "/v1/products"):
        assert f"<code>{path}</code>" in manual
