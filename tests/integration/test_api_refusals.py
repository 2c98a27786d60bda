"""Refused commands, looked up: what was asked and what was there, whichever way they came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api_server import Api, new_customer, new_key, running_api

METADATA = {"order": "a-1", "lines": 2, "gift": False}


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[Api]:
    with running_api(shared_database_url, read_side=False) as api:
        yield api


def looked_up(api: Api, refused: httpx.Response | dict[str, Any]) -> dict[str, Any]:
    """The receipt of a refused command, which its answer named and did not repeat."""
    problem = refused.json() if isinstance(refused, httpx.Response) else refused
    assert "asked" not in problem
    receipt = _found(api, f"/v1/receipts/{problem['receipt_id']}")
    assert "asked" not in receipt["answer"]
    assert receipt["answer"]["detail"] == problem["detail"]
    return receipt


def refusal_of(api: Api, customer: str) -> dict[str, Any]:
    """The customer's one refusal."""
    (refusal,) = _found(api, f"/v1/customers/{customer}/refusals")["refusals"]
    assert isinstance(refusal, dict)
    return refusal


def _found(api: Api, path: str) -> dict[str, Any]:
    response = api.http.get(path)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_refused_grant_is_told_with_all_that_was_asked(api: Api) -> None:
    customer = new_customer()
    body = {
        "amount": 77,
        "asset": "tokens",
        "source": "top_up",
        "expires_at": "2020-01-01T01:00:00+01:00",
        "effective_at": "2019-12-01T00:00:00Z",
        "cost_basis": {"amount": 999, "currency": "EUR"},
        "reference": "invoice 17",
        "metadata": METADATA,
    }

    refused = api.post(f"/v1/customers/{customer}/grants", body)

    assert refused.json()["field"] == "expires_at"
    receipt = looked_up(api, refused)
    assert (receipt["customer_id"], receipt["asset"]) == (customer, "tokens")
    del body["asset"]
    times = {
        "expires_at": "2020-01-01T00:00:00.000000Z",
        "effective_at": "2019-12-01T00:00:00.000000Z",
    }
    assert receipt["asked"] == {**body, **times}
    refusal = refusal_of(api, customer)
    assert (refusal["asked"], refusal["answer"]) == (receipt["asked"], receipt["answer"])


def test_a_refused_deduction_is_told_with_what_was_asked_and_what_was_there(api: Api) -> None:
    customer = new_customer()
    api.granted(customer, 10)
    happened = "2026-01-01T00:00:00.000000Z"
    body = {"amount": 11, "feature": "chat", "metadata": METADATA, "happened_at": happened}

    refused = api.post(f"/v1/customers/{customer}/deductions", body)

    assert looked_up(api, refused)["asked"] == body
    refusal = refusal_of(api, customer)
    assert refusal["asked"] == body
    assert refusal["answer"]["available"] == 10


def test_a_refused_capture_is_told_with_its_hold(api: Api) -> None:
    customer = new_customer()
    api.granted(customer, 10)
    hold_id = api.done(f"/v1/customers/{customer}/holds", {"amount": 5})["hold_id"]
    body = {"amount": 40, "final": False, "feature": "render"}

    refused = api.post(f"/v1/holds/{hold_id}/capture", body)

    assert looked_up(api, refused)["asked"] == {**body, "hold_id": hold_id}
    assert refusal_of(api, customer)["asked"] == {**body, "hold_id": hold_id}


def test_a_refused_refund_is_told_with_its_deduction(api: Api) -> None:
    customer = new_customer()
    api.granted(customer, 10)
    spent = api.done(f"/v1/customers/{customer}/deductions", {"amount": 5})["deduction_id"]
    body = {"amount": 6, "reason": "it failed", "expired_lots": "expire"}

    refused = api.post(f"/v1/deductions/{spent}/refunds", body)

    assert looked_up(api, refused)["asked"] == {**body, "deduction_id": spent}
    assert refusal_of(api, customer)["asked"] == {**body, "deduction_id": spent}


def test_a_refused_transfer_is_told_with_both_customers(api: Api) -> None:
    sender = new_customer()
    body = {"from_customer_id": sender, "to_customer_id": new_customer(), "amount": 5}

    refused = api.post("/v1/transfers", body)

    assert looked_up(api, refused)["asked"] == body
    assert refusal_of(api, sender)["asked"] == body


def test_a_refused_command_of_a_batch_is_told_with_what_was_asked(api: Api) -> None:
    customer, key = new_customer(), new_key()
    item = {
        "type": "deduct",
        "idempotency_key": new_key(),
        "customer_id": customer,
        "amount": 3,
        "feature": "chat",
    }

    first = api.post("/v1/batches", {"commands": [item]}, key=key)
    again = api.post("/v1/batches", {"commands": [item]}, key=key)

    assert again.content == first.content
    (told,) = first.json()["results"]
    assert looked_up(api, told)["asked"] == {"amount": 3, "feature": "chat"}
    assert refusal_of(api, customer)["asked"] == {"amount": 3, "feature": "chat"}


AHEAD = "2100-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/customers/{customer}/grants", {"amount": 5}),
        ("/v1/customers/{customer}/deductions", {"amount": 5}),
        ("/v1/customers/{customer}/holds", {"amount": 5}),
        ("/v1/transfers", {"amount": 5, "to_customer_id": "bob", "from_customer_id": "{customer}"}),
        ("/v1/holds/{hold}/capture", {"amount": 2}),
        ("/v1/holds/{hold}/release", {}),
        ("/v1/deductions/{deduction}/refunds", {"amount": 1}),
        ("/v1/grants/{grant}/revocations", {"amount": 1}),
        ("/v1/grants/{grant}/reinstatements", {"amount": 1}),
    ],
)
def test_what_came_before_its_time_stands_among_the_customers_refusals(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    customer = new_customer()
    own = f"/v1/customers/{customer}"
    names = {
        "customer": customer,
        "grant": api.granted(customer, 10)["grant_id"],
        "deduction": api.done(f"{own}/deductions", {"amount": 1})["deduction_id"],
        "hold": api.done(f"{own}/holds", {"amount": 2})["hold_id"],
    }
    sent = {
        name: said.format(**names) if isinstance(said, str) else said for name, said in body.items()
    }

    refused = api.post(path.format(**names), {**sent, "happened_at": AHEAD})

    assert refused.json()["field"] == "happened_at"
    refusal = refusal_of(api, customer)
    assert refusal["receipt_id"] == refused.json()["receipt_id"]
    assert (refusal["customer_id"], refusal["asset"]) == (customer, "credits")
    assert refusal["asked"].items() >= {**sent, "happened_at": AHEAD}.items()


def test_what_is_ahead_of_its_time_and_names_nothing_is_nobodys(api: Api) -> None:
    refused = api.post("/v1/holds/nonsense/capture", {"happened_at": AHEAD})

    receipt = looked_up(api, refused)
    assert (receipt["customer_id"], receipt["outcome"]) == (None, "invalid_request")


def test_the_first_that_a_customer_wished_may_have_been_too_early(api: Api) -> None:
    customer = new_customer()

    api.post(f"/v1/customers/{customer}/grants", {"amount": 5, "happened_at": AHEAD})

    assert refusal_of(api, customer)["asked"]["amount"] == 5
    assert api.granted(customer, 6)["balance"]["available"] == 6


def test_what_is_not_there_is_told_with_what_was_asked_of_it(api: Api) -> None:
    refused = api.command("PATCH", "/v1/grants/nonsense", {"expires_at": None})

    assert looked_up(api, refused)["asked"] == {"grant_id": "nonsense", "expires_at": None}


def test_nobody_is_told_again_what_he_asked(api: Api) -> None:
    path, key = f"/v1/customers/{new_customer()}/deductions", new_key()
    first = api.post(path, {"amount": 5}, key=key)

    again = api.post(path, {"amount": 5}, key=key)
    dry = api.post(path, {"amount": 5}, dry_run="true")

    assert again.content == first.content
    assert [answer.status_code for answer in (again, dry)] == [402, 402]
    assert "asked" not in again.json()
    assert "asked" not in dry.json()


def test_an_accepted_command_is_told_without(api: Api) -> None:
    granted = api.granted(new_customer(), 5)

    receipt = _found(api, f"/v1/receipts/{granted['receipt_id']}")

    assert receipt["asked"] is None
    assert receipt["answer"]["amount"] == 5
