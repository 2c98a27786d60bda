"""Webhooks, prices, links and payments over HTTP, with the workers behind them."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

from creditledger.infra.delivery import BODY_BYTES_MAX
from provider_bodies import STRIPE_PACK, TERN, body, changed, event
from webhook_caller import NEW, OLD, Caller, assert_problem
from webhook_desk import INTENT, ORDER, PARTIAL_CHARGE, SESSION, eventually, without_owner

PAYMENT = "pi_8kIJbT1rN7biotKnxdcLFdQT"

#: Correctly signed, and no JSON object.
JUNK = (b"", b"null", b"[]", b'"x"', b"7", b"{", b"not json", b"\xff\xfe", b"[" * 9999)


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
            answer = caller.provider.post(path, content=body(SESSION))
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
        answer = caller.provider.post("/webhooks/stripe", content=parts)
        assert_problem(answer, 413, "body_too_large")

    def test_a_database_that_is_away_is_503_soon(self, caller: Caller) -> None:
        caller.api.service.pool.close()
        began = monotonic()
        answer = caller.stripe(SESSION)
        assert monotonic() - began < 5
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"]

    def test_other_providers_have_no_door(self, caller: Caller) -> None:
        assert caller.provider.post("/webhooks/cash", content=b"{}").status_code == 404


class TestTheWholeWay:
    def test_a_purchase_and_its_refund(self, working: Caller) -> None:
        working.set_price()
        for name in (SESSION, INTENT, PARTIAL_CHARGE):
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
        working.stripe(without_owner(SESSION))
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
        delivery_id = working.stripe(without_owner(SESSION, customer=None)).json()["delivery_id"]
        eventually(lambda: bool(working.deliveries(reason="unknown_customer")))
        path = f"/v1/webhooks/{delivery_id}/assign"
        answer = working.ask("POST", path, json={"customer_id": "org guest/7"})
        assert answer.status_code == 202
        assert answer.json()["delivery_id"] == delivery_id
        eventually(lambda: working.available("org%20guest%2F7") == 600)
        other = working.ask("POST", path, json={"customer_id": "org_other"})
        assert_problem(other, 409, "payment_already_granted")
        assert "asked" not in other.json()

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
