"""Webhooks, prices, links and payments over HTTP, with the workers behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from creditledger.api.app import create_app
from creditledger.consumers.worker import consume
from creditledger.infra.clients import create_client
from creditledger.infra.database import connect
from creditledger.infra.delivery import BODY_BYTES_MAX
from creditledger.infra.read_side import keep_up
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import Service, service
from provider_bodies import (
    STRIPE_PACK,
    TERN,
    body,
    changed,
    event,
    legacy_key,
    polar_headers,
    stripe_headers,
)

OLD, NEW = "whsec_0ld", "whsec_new"
POLAR_SECRET = "polar_whs_Wb7rT0qkZ4mXs2"

SESSION = "stripe.checkout.session.completed.payment_paid"
INTENT = "stripe.payment_intent.succeeded.pack"
CHARGE = "stripe.charge.refunded.partial"
ORDER = "polar.order.paid.purchase"
PAYMENT = "pi_8kIJbT1rN7biotKnxdcLFdQT"
PRICE_PATH = f"/v1/prices/stripe/{STRIPE_PACK}"


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
    ("/v1/prices/cash/p", {"credits": 1}, "provider"),
    ("/v1/prices/stripe/a%20b", {"credits": 1}, "price_id"),
    ("/v1/prices/stripe/" + "x" * 256, {"credits": 1}, "price_id"),
    ("/v1/links/stripe/cus_1", {}, "customer_id"),
    ("/v1/links/stripe/cus_1", {"customer_id": ""}, "customer_id"),
    ("/v1/links/stripe/cus_1", {"customer_id": "x" * 129}, "customer_id"),
)

#: Correctly signed, and no JSON object.
JUNK = (b"", b"null", b"[]", b'"x"', b"7", b"{", b"not json", b"\xff\xfe", b"[" * 9999)


class Caller:
    """A provider, and somebody with an API key."""

    def __init__(self, http: httpx.Client, key: str) -> None:
        self.http = http
        self.key = key

    def stripe(self, content: bytes | str, *secrets: str, **options: Any) -> Any:
        """Deliver a Stripe event, signed with these secrets (the new one where none is given)."""
        raw = body(content) if isinstance(content, str) else content
        headers = stripe_headers(raw, *(secrets or (NEW,)), **options)
        return self.http.post("/webhooks/stripe", content=raw, headers=headers)

    def polar(self, content: bytes | str, **options: Any) -> Any:
        """Deliver a Polar event."""
        raw = body(content) if isinstance(content, str) else content
        headers = polar_headers(raw, legacy_key(POLAR_SECRET), **options)
        return self.http.post("/webhooks/polar", content=raw, headers=headers)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """A request with the API key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return self.http.request(method, path, headers=headers, **options)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def deliveries(self, **filters: str) -> list[dict[str, Any]]:
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        return list(self.get(f"/v1/webhooks?{query}")["webhooks"])

    def available(self, customer_id: str = TERN) -> int:
        path = f"/v1/customers/{customer_id}/balance?consistency=exact"
        return sum(balance["available"] for balance in self.get(path)["balances"])

    def set_price(self) -> Any:
        answer = self.ask("PUT", PRICE_PATH, json={"credits": 300, "name": "300 credits"})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def parts(database_url: str) -> Iterator[Service]:
    secrets = Settings(
        stripe_webhook_secrets=(SecretStr(NEW), SecretStr(OLD)),
        polar_webhook_secrets=(SecretStr(POLAR_SECRET),),
    )
    with service(secrets, database_url) as parts:
        yield parts


@pytest.fixture
def caller(parts: Service) -> Iterator[Caller]:
    """The API alone: deliveries are kept, and nobody works them off."""
    with connect(parts.url, "tests") as connection:
        _, key = create_client(connection, "tests", ["commands", "read", "events", "admin"])
    with serving(parts) as address, httpx.Client(base_url=address, timeout=30) as http:
        yield Caller(http, key)


@contextmanager
def serving(parts: Service) -> Iterator[str]:
    """The API on a port of its own."""
    config = uvicorn.Config(create_app(parts), port=0, log_config=None, ws="none")
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def working(caller: Caller, parts: Service) -> Iterator[Caller]:
    """The API with everything behind it."""
    stop = Event()
    threads = [Thread(target=run, args=(parts, stop)) for run in (consume, keep_up)]
    for thread in threads:
        thread.start()
    yield caller
    stop.set()
    for thread in threads:
        thread.join()


def eventually(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it did not come to that"
        sleep(0.02)


class TestTheDoor:
    def test_a_signed_delivery_is_kept_and_answered_202(self, caller: Caller) -> None:
        answer = caller.stripe(SESSION)
        assert answer.status_code == 202
        [kept] = caller.deliveries()
        assert kept["delivery_id"] == answer.json()["delivery_id"]
        assert kept["provider_delivery_id"] == event(SESSION)["id"]
        assert (kept["status"], kept["type"]) == ("received", "checkout.session.completed")
        assert kept["tries"] == 0

    def test_the_same_delivery_again_is_202_and_kept_once(self, caller: Caller) -> None:
        for secret in (NEW, OLD, NEW):
            assert caller.stripe(SESSION, secret).status_code == 202
        for _ in range(2):
            assert caller.polar(ORDER, webhook_id="msg_1").status_code == 202
        assert len(caller.deliveries()) == 2
        [polar] = caller.deliveries(provider="polar")
        assert polar["provider_delivery_id"] == "msg_1"

    def test_an_old_signature_is_401(self, caller: Caller) -> None:
        for answer in (caller.stripe(SESSION, NEW, age=302), caller.polar(ORDER, age=302)):
            assert_problem(answer, 401, "unauthenticated")
        assert caller.deliveries() == []

    def test_a_wrong_or_missing_signature_is_401(self, caller: Caller) -> None:
        assert_problem(caller.stripe(SESSION, "whsec_other"), 401, "unauthenticated")
        for path in ("/webhooks/stripe", "/webhooks/polar"):
            answer = caller.http.post(path, content=body(SESSION))
            assert_problem(answer, 401, "unauthenticated")
        keyed = caller.ask("POST", "/webhooks/stripe", content=body(SESSION))
        assert_problem(keyed, 401, "unauthenticated")
        assert caller.deliveries() == []

    def test_signed_junk_is_400(self, caller: Caller) -> None:
        for content in JUNK:
            for answer in (caller.stripe(content), caller.polar(content)):
                assert_problem(answer, 400, "malformed_request")
        assert caller.deliveries() == []

    def test_a_large_body_is_413(self, caller: Caller) -> None:
        fitting = json.dumps({"id": "evt_large", "x": ""}).encode()
        fitting = fitting[:-2] + b"x" * (BODY_BYTES_MAX - len(fitting)) + fitting[-2:]
        assert len(fitting) == BODY_BYTES_MAX
        assert caller.stripe(fitting).status_code == 202
        assert_problem(caller.stripe(fitting + b" "), 413, "body_too_large")

    def test_a_body_of_unknown_length_is_413_as_well(self, caller: Caller) -> None:
        parts = (b"x" * 65_536 for _ in range(9))
        answer = caller.http.post("/webhooks/stripe", content=parts)
        assert_problem(answer, 413, "body_too_large")

    def test_a_database_that_is_away_is_503_soon(self, caller: Caller, parts: Service) -> None:
        parts.pool.close()
        began = monotonic()
        answer = caller.stripe(SESSION)
        assert monotonic() - began < 5
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"]

    def test_other_providers_have_no_door(self, caller: Caller) -> None:
        assert caller.http.post("/webhooks/cash", content=b"{}").status_code == 404


def assert_problem(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


class TestTheWholeWay:
    def test_a_purchase_and_its_refund(self, working: Caller) -> None:
        working.set_price()
        for name in (SESSION, INTENT, CHARGE):
            working.stripe(name)
        eventually(lambda: working.available() == 450)

        def paid() -> list[dict[str, Any]]:
            path = f"/v1/payments?provider=stripe&provider_id={PAYMENT}"
            return list(working.get(path)["payments"])

        eventually(lambda: bool(paid()) and paid()[0]["revoked"] == 150)
        [payment] = paid()
        assert payment["status"] == "partially_refunded"
        assert (payment["paid"], payment["refunded"], payment["currency"]) == (1400, 350, "USD")
        assert (payment["granted"], payment["customer_id"]) == (600, TERN)
        assert working.get(f"/v1/payments/{payment['payment_id']}") == payment
        eventually(lambda: len(working.deliveries(status="done")) == 3)

    def test_an_order_names_its_own_worth(self, working: Caller) -> None:
        working.polar(ORDER)
        eventually(lambda: working.available() == 600)
        [price] = working.get("/v1/prices?provider=polar")["prices"]
        assert (price["credits"], price["origin"]) == (600, "learned")

    def test_a_price_that_is_entered_later_frees_what_waited(self, working: Caller) -> None:
        delivery_id = working.stripe(SESSION).json()["delivery_id"]
        eventually(lambda: bool(working.deliveries(status="parked")))
        [parked] = working.deliveries(reason="unknown_price")
        assert parked["delivery_id"] == delivery_id
        assert parked["waits_for"] == f"price:stripe:{STRIPE_PACK}"
        eventually(lambda: bool(working.get("/v1/payments?status=parked")["payments"]))
        working.set_price()
        eventually(lambda: working.available() == 600)
        eventually(lambda: working.get("/v1/payments?status=parked")["payments"] == [])

    def test_a_link_that_is_entered_later_frees_what_waited(self, working: Caller) -> None:
        working.set_price()
        working.stripe(without_owner())
        eventually(lambda: bool(working.deliveries(reason="unknown_customer")))
        customer = event(SESSION)["data"]["object"]["customer"]
        path = f"/v1/links/stripe/{customer}"
        answer = working.ask("PUT", path, json={"customer_id": TERN})
        assert answer.status_code == 200
        assert answer.json()["customer_id"] == TERN
        eventually(lambda: working.available() == 600)
        [link] = working.get(f"/v1/links?customer_id={TERN}")["links"]
        assert (link["provider_customer_id"], link["origin"]) == (customer, "hand")

    def test_a_guests_purchase_is_assigned(self, working: Caller) -> None:
        working.set_price()
        delivery_id = working.stripe(without_owner(customer=None)).json()["delivery_id"]
        eventually(lambda: bool(working.deliveries(reason="unknown_customer")))
        path = f"/v1/webhooks/{delivery_id}/assign"
        answer = working.ask("POST", path, json={"customer_id": "org guest/7"})
        assert answer.status_code == 202
        assert answer.json()["delivery_id"] == delivery_id
        eventually(lambda: working.available("org%20guest%2F7") == 600)
        other = working.ask("POST", path, json={"customer_id": "org_other"})
        assert_problem(other, 409, "payment_already_granted")

    def test_a_replay_tries_again_and_books_nothing_twice(self, working: Caller) -> None:
        working.set_price()
        delivery_id = working.stripe(SESSION).json()["delivery_id"]
        eventually(lambda: bool(working.deliveries(status="done")))
        answer = working.ask("POST", f"/v1/webhooks/{delivery_id}/replay")
        assert answer.status_code == 202
        assert "body" not in answer.json()
        eventually(lambda: [row["tries"] for row in working.deliveries(status="done")] == [2])
        assert working.available() == 600

    def test_what_the_ledger_does_not_keep_is_ignored(self, working: Caller) -> None:
        live = changed(SESSION, {"id": "evt_live", "livemode": True})
        tea = changed(SESSION, {"id": "evt_tea", "type": "tea.brewed"})
        for content in (live, tea, b"{}"):
            assert working.stripe(content).status_code == 202
        eventually(lambda: len(working.deliveries(status="ignored")) == 3)
        assert {row["reason"] for row in working.deliveries()} == {
            "wrong_environment",
            "unknown_type",
        }


def without_owner(**fields: Any) -> bytes:
    metadata = {"price_id": STRIPE_PACK, "quantity": "2"}
    return changed(SESSION, metadata=metadata, client_reference_id=None, **fields)


class TestLookingAtDeliveries:
    def test_one_with_its_body(self, caller: Caller) -> None:
        delivery_id = caller.stripe(SESSION).json()["delivery_id"]
        found = caller.get(f"/v1/webhooks/{delivery_id}")
        assert found["body"].encode() == body(SESSION)
        assert "stripe-signature" in found["headers"]

    def test_they_are_found_by_what_is_known_of_them(self, caller: Caller) -> None:
        caller.stripe(SESSION)
        caller.polar(ORDER, webhook_id="msg_7")
        assert [row["provider"] for row in caller.deliveries()] == ["polar", "stripe"]
        assert len(caller.deliveries(status="received")) == 2
        assert caller.deliveries(status="done") == []
        [row] = caller.deliveries(provider_delivery_id="msg_7")
        assert row["provider"] == "polar"

    def test_pages_follow_each_other(self, caller: Caller) -> None:
        for n in range(3):
            caller.stripe(changed(SESSION, {"id": f"evt_{n}"}))
        first = caller.get("/v1/webhooks?limit=2")
        second = caller.get(f"/v1/webhooks?limit=2&cursor={first['next_cursor']}")
        seen = [row["provider_delivery_id"] for row in first["webhooks"] + second["webhooks"]]
        assert seen == ["evt_2", "evt_1", "evt_0"]
        assert second["next_cursor"] is None
        bad = caller.ask("GET", "/v1/webhooks?cursor=1-0000000000000000")
        assert_problem(bad, 422, "invalid_request")

    def test_an_unknown_one_is_404(self, caller: Caller) -> None:
        path = "/v1/webhooks/whd_none"
        for answer in (
            caller.ask("GET", path),
            caller.ask("POST", f"{path}/replay"),
            caller.ask("POST", f"{path}/assign", json={"customer_id": "x"}),
        ):
            assert_problem(answer, 404, "delivery_not_found")

    def test_one_that_tells_of_no_purchase_cannot_be_assigned(self, caller: Caller) -> None:
        delivery_id = caller.stripe(SESSION).json()["delivery_id"]
        path = f"/v1/webhooks/{delivery_id}/assign"
        answer = caller.ask("POST", path, json={"customer_id": "x"})
        assert_problem(answer, 404, "payment_not_found")


class TestEntering:
    def test_a_price_is_answered_as_it_stands(self, working: Caller) -> None:
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
        assert listed == told

    def test_what_does_not_fit_is_422_with_its_field(self, caller: Caller) -> None:
        for path, content, field in UNFIT:
            answer = caller.ask("PUT", path, json=content)
            assert_problem(answer, 422, "invalid_request")
            assert field in answer.json()["field"]

    def test_a_key_makes_it_a_command_like_others(self, caller: Caller) -> None:
        def put(credits: int) -> Any:
            return caller.http.put(
                PRICE_PATH,
                json={"credits": credits},
                headers={"Authorization": f"Bearer {caller.key}", "Idempotency-Key": "k-1"},
            )

        assert put(5).status_code == 200
        assert put(5).status_code == 200
        assert_problem(put(6), 422, "idempotency_key_reused")

    def test_each_needs_its_scope(self, caller: Caller, parts: Service) -> None:
        with connect(parts.url, "tests") as connection:
            _, reader = create_client(connection, "reader", ["read"])
        delivery_id = caller.stripe(SESSION).json()["delivery_id"]
        only_reading = Caller(caller.http, reader)
        nobody = Caller(caller.http, "clk_nobody")
        for path in ("/v1/webhooks", "/v1/prices", "/v1/links", "/v1/payments"):
            only_reading.get(path)
            assert nobody.ask("GET", path).status_code == 401
        for method, path in (
            ("GET", f"/v1/webhooks/{delivery_id}"),
            ("POST", f"/v1/webhooks/{delivery_id}/replay"),
            ("POST", f"/v1/webhooks/{delivery_id}/assign"),
            ("PUT", PRICE_PATH),
            ("PUT", "/v1/links/stripe/cus_1"),
        ):
            content = None if method == "GET" else {"credits": 1, "customer_id": "x"}
            assert_problem(only_reading.ask(method, path, json=content), 403, "forbidden")

    def test_an_unknown_payment_is_404(self, caller: Caller) -> None:
        for payment_id in ("pay_none", "pay_" + "0" * 26, "%00"):
            answer = caller.ask("GET", f"/v1/payments/{payment_id}")
            assert answer.status_code in (404, 422)

    def test_a_filter_that_does_not_fit_is_422(self, caller: Caller) -> None:
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
