"""Prices, links and payments over HTTP: what fits, what each needs, and what is answered."""

from __future__ import annotations

from typing import Any

from webhook_caller import PRICE_PATH, Caller, assert_problem
from webhook_desk import SESSION

#: Where something is entered that does not fit, and the field that is named.
UNFIT: tuple[tuple[str, dict[str, Any], str], ...] = (
    (PRICE_PATH, {}, "credits"),
    (PRICE_PATH, {"credits": -1}, "credits"),
    (PRICE_PATH, {"credits": 1.5}, "credits"),
    (PRICE_PATH, {"credits": 2**53}, "credits"),
    (PRICE_PATH, {"credits": 1, "asset": "Tokens"}, "asset"),
    (PRICE_PATH, {"credits": 1, "kind": "gift"}, "kind"),
    (PRICE_PATH, {"credits": 1, "kind": "usage"}, "credits"),
    (PRICE_PATH, {"credits": 1, "expires_after_days": 0}, "expires_after_days"),
    (PRICE_PATH, {"credits": 1, "name": "a\x00b"}, "name"),
    (PRICE_PATH, {"credits": 1, "price": 9}, "price"),
    (PRICE_PATH, {"credits": 1, "version": 1.5}, "version"),
    (PRICE_PATH, {"credits": 1, "version": "a\x00"}, "version"),
    ("/v1/prices/cash/p", {"credits": 1}, "provider"),
    ("/v1/prices/stripe/a%20b", {"credits": 1}, "price_id"),
    ("/v1/prices/stripe/" + "x" * 256, {"credits": 1}, "price_id"),
    ("/v1/links/stripe/cus_1", {}, "customer_id"),
    ("/v1/links/stripe/cus_1", {"customer_id": ""}, "customer_id"),
    ("/v1/links/stripe/cus_1", {"customer_id": "x" * 129}, "customer_id"),
)


def test_a_price_is_answered_as_it_stands(working: Caller) -> None:
    content = {
        "credits": 5,
        "asset": "tokens",
        "kind": "recurring",
        "name": "Five",
        "expires_after_days": 30,
        "plan_family": "pro",
        "version": 2,
    }
    answer = working.ask("PUT", "/v1/prices/polar/p-1", json=content)
    assert answer.status_code == 200
    told = answer.json()
    assert told["origin"] == "entered"
    assert {name: told[name] for name in content} == content
    [listed] = working.get("/v1/prices")["prices"]
    recorded_at = listed.pop("recorded_at")
    assert recorded_at.endswith("Z")
    assert listed == {**told, "product_id": None, "active": None, "internal_id": None}


def test_what_does_not_fit_is_422_with_its_field(caller: Caller) -> None:
    for path, content, field in UNFIT:
        answer = caller.ask("PUT", path, json=content)
        assert_problem(answer, 422, "invalid_request")
        assert field == answer.json()["field"]


def test_a_key_makes_it_a_command_like_others(caller: Caller) -> None:
    def put(credits: int) -> Any:
        headers = {"Idempotency-Key": "k-1"}
        return caller.ask("PUT", PRICE_PATH, json={"credits": credits}, headers=headers)

    assert put(5).status_code == 200
    assert put(5).status_code == 200
    assert_problem(put(6), 422, "idempotency_key_reused")


def test_each_needs_its_scope(caller: Caller) -> None:
    delivery_id = caller.stripe(SESSION).json()["delivery_id"]
    nobody = Caller(caller.api, caller.provider, caller.provider)
    with caller.api.client_with("read") as person:
        reading = Caller(caller.api, caller.provider, person)
        for path in ("/v1/webhooks", "/v1/prices", "/v1/links", "/v1/payments"):
            reading.get(path)
            assert_problem(nobody.ask("GET", path), 401, "unauthenticated")
        for method, path in (
            ("GET", f"/v1/webhooks/{delivery_id}"),
            ("POST", f"/v1/webhooks/{delivery_id}/replay"),
            ("POST", f"/v1/webhooks/{delivery_id}/assign"),
            ("PUT", PRICE_PATH),
            ("PUT", "/v1/links/stripe/cus_1"),
        ):
            content = None if method == "GET" else {"credits": 1, "customer_id": "x"}
            assert_problem(reading.ask(method, path, json=content), 403, "forbidden")


def test_an_unknown_payment_is_404(caller: Caller) -> None:
    for payment_id in ("pay_none", "pay_" + "0" * 26, "%00"):
        answer = caller.ask("GET", f"/v1/payments/{payment_id}")
        assert answer.status_code in (404, 422)


def test_a_filter_that_does_not_fit_is_422(caller: Caller) -> None:
    for query in (
        "status=lost",
        "provider=cash",
        "limit=0",
        "since=today",
        "cursor=x",
        "page=2",
    ):
        answer = caller.ask("GET", f"/v1/payments?{query}")
        assert_problem(answer, 422, "invalid_request")
