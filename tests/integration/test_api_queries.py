"""Queries over HTTP: balances now, then and to come; histories; single things; the log."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_server import Api, new_customer, new_key


@pytest.fixture(scope="module")
def story(api: Api) -> dict[str, Any]:
    """A customer with a grant, a hold that was captured in part, a refund and a refusal."""
    customer = new_customer()
    path = f"/v1/customers/{customer}"
    grant = api.granted(
        customer, 100, source="top_up", cost_basis={"amount": 1000, "currency": "EUR"}
    )
    gift = api.granted(customer, 20, source="gift", expires_after_days=10)
    hold = api.done(f"{path}/holds", {"amount": 30, "feature": "render"})
    capture = api.done(f"/v1/holds/{hold['hold_id']}/capture", {"amount": 25})
    refund = api.done(f"/v1/deductions/{capture['deduction_id']}/refunds", {"amount": 5})
    key = new_key()
    refused = api.post(f"{path}/deductions", {"amount": 1_000}, key=key)
    assert refused.status_code == 402
    latest = refund["position"]
    for name in ("balance",):
        caught_up = api.http.get(f"{path}/{name}", params={"after_position": str(latest)})
        assert caught_up.status_code == 200
    _wait_for_all(api, latest)
    return {
        "path": path,
        "customer": customer,
        "grant": grant,
        "gift": gift,
        "hold": hold,
        "capture": capture,
        "refund": refund,
        "refused_key": key,
        "refused": refused.json(),
    }


def _wait_for_all(api: Api, position: int) -> None:
    for _ in range(1_000):
        found = api.http.get("/readyz").json()["projections"]
        if found and all(projection["position"] >= position for projection in found):
            return
    raise AssertionError(f"not all projections reached {position}: {found}")


def get(api: Api, path: str, **params: str) -> Any:
    response = api.http.get(path, params=params or None)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("params", [{}, {"consistency": "exact"}])
def test_a_balance_has_its_lots_in_burn_order(
    api: Api, story: dict[str, Any], params: dict[str, str]
) -> None:
    found = get(api, f"{story['path']}/balance", **params)

    assert found["customer_id"] == story["customer"]
    assert found["position"] >= story["refund"]["position"]
    (balance,) = found["balances"]
    assert (balance["asset"], balance["available"], balance["held"]) == ("credits", 100, 0)
    assert balance["by_source"] == {"top_up": 100}
    assert [lot["grant_id"] for lot in balance["lots"]] == [story["grant"]["grant_id"]]


def test_a_customer_that_was_never_seen_has_zeros(api: Api) -> None:
    for params in ({}, {"consistency": "exact"}, {"at": "2026-01-01T00:00:00Z"}):
        found = get(api, f"/v1/customers/{new_customer()}/balance", **params)

        (balance,) = found["balances"]
        figures = ("available", "held", "scheduled", "debt", "overage")
        assert [balance[name] for name in figures] == [0, 0, 0, 0, 0]
        assert (balance["asset"], balance["lots"]) == ("credits", [])


def test_a_balance_of_a_past_and_of_a_future_moment(api: Api) -> None:
    customer = new_customer()
    path = f"/v1/customers/{customer}/balance"
    before = datetime.now(UTC)
    api.granted(customer, 10, expires_after_days=1)
    api.granted(customer, 5, effective_at=(before + timedelta(days=2)).isoformat())

    def at(moment: datetime) -> tuple[int, int]:
        (balance,) = get(api, path, at=moment.isoformat())["balances"]
        return balance["available"], balance["scheduled"]

    assert at(before) == (0, 0)
    assert at(datetime.now(UTC)) == (10, 5)
    assert at(before + timedelta(days=1, hours=1)) == (0, 5)
    assert at(before + timedelta(days=3)) == (5, 0)


def test_one_asset_may_be_asked_for(api: Api) -> None:
    customer = new_customer()
    api.granted(customer, 10)
    api.granted(customer, 7, asset="tokens")
    path = f"/v1/customers/{customer}/balance"

    every = get(api, path, consistency="exact")["balances"]
    one = get(api, path, consistency="exact", asset="tokens")["balances"]

    assert [(b["asset"], b["available"]) for b in every] == [("credits", 10), ("tokens", 7)]
    assert [(b["asset"], b["available"]) for b in one] == [("tokens", 7)]


def test_a_reader_can_wait_for_its_own_write(api: Api) -> None:
    customer = new_customer()
    for amount in range(1, 20):
        position = api.granted(customer, 1)["position"]
        found = get(api, f"/v1/customers/{customer}/balance", after_position=str(position))
        assert found["balances"][0]["available"] == amount
        assert found["position"] >= position


@pytest.mark.parametrize("way", [{}, {"consistency": "exact"}])
def test_nobody_waits_for_what_the_log_does_not_hold(api: Api, way: dict[str, str]) -> None:
    path = f"/v1/customers/{new_customer()}/balance"

    response = api.http.get(path, params={"after_position": str(api.head() + 1_000), **way})
    at_the_end = api.http.get(path, params={"after_position": str(api.head()), **way})

    assert at_the_end.status_code == 200
    assert (response.status_code, response.json()["field"]) == (422, "after_position")


def test_entries_are_told_newest_first_with_their_lots(api: Api, story: dict[str, Any]) -> None:
    entries = get(api, f"{story['path']}/entries")["entries"]

    kinds = [entry["kind"] for entry in entries]
    assert kinds[-1] == "grant"
    assert {"grant", "hold", "deduction", "release", "refund"} <= set(kinds)
    positions = [entry["position"] for entry in entries]
    assert positions == sorted(positions, reverse=True)
    totals = [entry["total_after"] for entry in reversed(entries)]
    amounts = [entry["amount"] for entry in reversed(entries)]
    assert totals == [sum(amounts[: n + 1]) for n in range(len(amounts))]


def test_pages_of_entries_make_up_the_whole(api: Api, story: dict[str, Any]) -> None:
    path = f"{story['path']}/entries"
    whole = get(api, path)["entries"]
    pages, cursor = [], None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = get(api, path, **params)
        pages += page["entries"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert pages == whole
    assert get(api, path, kind="grant")["entries"] == [e for e in whole if e["kind"] == "grant"]
    by_feature = get(api, path, feature="render")["entries"]
    assert by_feature == [entry for entry in whole if entry["feature"] == "render"]
    assert get(api, path, until=whole[-1]["recorded_at"])["entries"] == []
    assert get(api, path, since=whole[0]["recorded_at"])["entries"] == whole[:1]


def test_an_entry_is_explained(api: Api, story: dict[str, Any]) -> None:
    held = next(
        entry
        for entry in get(api, f"{story['path']}/entries")["entries"]
        if entry["kind"] == "hold"
    )

    found = get(api, f"/v1/entries/{held['entry_id']}/explanation")

    gift, grant = found["lots"]
    assert (gift["grant_id"], gift["amount"], gift["place"]) == (story["gift"]["grant_id"], 20, 1)
    assert "priority 20" in gift["why"]
    assert grant["cost"] == {"amount": 100, "currency": "EUR"}


def test_grants_deductions_and_holds_are_found_with_their_history(
    api: Api, story: dict[str, Any]
) -> None:
    grant = get(api, f"/v1/grants/{story['grant']['grant_id']}")
    deduction = get(api, f"/v1/deductions/{story['capture']['deduction_id']}")
    hold = get(api, f"/v1/holds/{story['hold']['hold_id']}")

    assert (grant["amount"], grant["remaining"], grant["source"]) == (100, 100, "top_up")
    assert deduction["refunded"] == 5
    assert "refund" in [entry["kind"] for entry in deduction["history"]]
    assert (hold["status"], hold["captured"], hold["released"]) == ("captured", 25, 5)
    assert hold["history"]


def test_holds_can_be_filtered(api: Api, story: dict[str, Any]) -> None:
    path = f"{story['path']}/holds"

    assert [hold["hold_id"] for hold in get(api, path)["holds"]] == [story["hold"]["hold_id"]]
    assert get(api, path, status="open")["holds"] == []
    assert len(get(api, path, status="captured")["holds"]) == 1


def test_a_receipt_is_found_by_its_id_and_by_its_key(api: Api, story: dict[str, Any]) -> None:
    key = story["refused_key"]

    by_key = get(api, f"/v1/receipts/{key}")
    by_id = get(api, f"/v1/receipts/{story['refused']['receipt_id']}")

    assert by_key == by_id
    assert (by_key["outcome"], by_key["accepted"]) == ("insufficient_credits", False)
    assert (by_key["idempotency_key"], by_key["command"]) == (key, "deduct")
    assert by_key["answer"]["required"] == 1_000
    with api.client_with("read") as other:
        assert other.get(f"/v1/receipts/{key}").status_code == 404


def test_refusals_say_what_was_asked_and_what_was_there(api: Api, story: dict[str, Any]) -> None:
    (refusal,) = get(api, f"{story['path']}/refusals")["refusals"]

    assert refusal["receipt_id"] == story["refused"]["receipt_id"]
    assert (refusal["answer"]["available"], refusal["answer"]["required"]) == (100, 1_000)
    assert get(api, f"{story['path']}/refusals", code="hold_closed")["refusals"] == []


def test_events_are_told_in_order_and_in_pages(api: Api, story: dict[str, Any]) -> None:
    customer = story["customer"]
    whole = get(api, "/v1/events", customer_id=customer)
    pages, after = [], 0
    while True:
        page = get(api, "/v1/events", customer_id=customer, limit="2", after=str(after))
        pages += page["events"]
        after = page["next_after"]
        if not page["has_more"]:
            break

    types = [event["type"] for event in whole["events"]]
    assert types[:3] == ["Granted", "Granted", "Held"]
    assert pages == whole["events"]
    only = get(api, "/v1/events", customer_id=customer, type="Deducted")["events"]
    assert [event["data"]["deduction_id"] for event in only] == [story["capture"]["deduction_id"]]


def test_the_log_can_be_told_as_one_long_stream(api: Api, story: dict[str, Any]) -> None:
    accept = {"Accept": "application/x-ndjson"}

    response = api.http.get("/v1/events", headers=accept)

    assert response.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in response.text.splitlines()]
    positions = [event["position"] for event in events]
    assert positions == list(range(1, len(events) + 1))
    few = api.http.get("/v1/events", headers=accept, params={"limit": "3", "after": "1"})
    assert [json.loads(line)["position"] for line in few.text.splitlines()] == [2, 3, 4]


def test_the_service_says_that_it_is_ready_and_how_far_its_read_models_are(api: Api) -> None:
    assert get(api, "/healthz") == {"status": "alive"}
    ready = get(api, "/readyz")
    assert ready["status"] == "ready"
    assert {projection["name"] for projection in ready["projections"]} >= {"balances", "entries"}


def test_the_document_names_every_route_once_and_every_problem_by_its_schema(api: Api) -> None:
    document = get(api, "/openapi.json")

    operations = [
        operation for methods in document["paths"].values() for operation in methods.values()
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for operation in operations:
        assert operation["summary"]
        assert operation["tags"]
        for status, response in operation["responses"].items():
            if int(status) >= 400 and "content" in response:
                (media_type,) = response["content"]
                assert media_type == "application/problem+json" or status == "503"
    grant = document["paths"]["/v1/customers/{customer_id}/grants"]["post"]
    assert grant["security"] == [{"api_key": ["commands"]}]
    assert {parameter["name"].lower() for parameter in grant["parameters"]} >= {
        "customer_id",
        "idempotency-key",
        "dry_run",
    }
