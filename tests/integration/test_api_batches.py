"""Batches: in order, in one transaction, each command with its own key (domain/README.md, 9.5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api_commands import NO_HOLD
from api_server import Api, new_customer, new_key, running_api


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[Api]:
    with running_api(shared_database_url, read_side=False) as api:
        yield api


def item(kind: str, **fields: Any) -> dict[str, Any]:
    """A command of a batch, under a new key unless one is given."""
    return {"type": kind, "idempotency_key": new_key(), **fields}


def batch(
    api: Api, *items: dict[str, Any], key: str | None = None, **fields: Any
) -> httpx.Response:
    return api.post("/v1/batches", {"commands": list(items), **fields}, key=key)


def statuses(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [result["status"] for result in response.json()["results"]]


def test_every_type_of_command_can_stand_in_a_batch(api: Api) -> None:
    customer, friend = new_customer(), new_customer()
    granted = api.granted(customer, 1000)["grant_id"]
    spent = api.done(f"/v1/customers/{customer}/deductions", {"amount": 10})["deduction_id"]
    one, other = (
        api.done(f"/v1/customers/{customer}/holds", {"amount": 10})["hold_id"] for _ in range(2)
    )

    response = batch(
        api,
        item("grant", customer_id=customer, amount=5),
        item("deduct", customer_id=customer, amount=5, feature="chat"),
        item("hold", customer_id=customer, amount=5),
        item("capture", hold_id=one, amount=5),
        item("release", hold_id=other),
        item("refund", deduction_id=spent),
        item("revoke", grant_id=granted, amount=5),
        item("reinstate", grant_id=granted),
        item("transfer", from_customer_id=customer, to_customer_id=friend, amount=5),
    )

    assert statuses(response) == [201, 201, 201, 201, 200, 201, 201, 201, 201]
    results = response.json()["results"]
    made = ["grant_id", "deduction_id", "hold_id", "deduction_id", "released", "refund_id",
            "revocation_id", "to", "grants"]  # fmt: skip
    assert all(name in result for name, result in zip(made, results, strict=True))
    assert all("balance" in result and "idempotency_key" in result for result in results)
    positions = [result["position"] for result in results]
    assert positions == sorted(positions)
    assert response.json()["position"] == positions[-1] == api.head()


def test_an_independent_refusal_concerns_itself_only(api: Api) -> None:
    customer = new_customer()

    response = batch(
        api,
        item("deduct", customer_id=customer, amount=1),
        item("grant", customer_id=customer, amount=10),
        item("capture", hold_id=NO_HOLD),
        item("deduct", customer_id=customer, amount=4),
        item("grant", customer_id=customer, amount=1, source="nobody"),
    )

    assert statuses(response) == [402, 201, 404, 201, 422]
    refused, _, unknown, _, invalid = response.json()["results"]
    assert refused["code"] == "insufficient_credits"
    assert (refused["available"], refused["required"]) == (0, 1)
    assert unknown["code"] == "hold_not_found"
    assert (invalid["code"], invalid["field"]) == ("invalid_request", "source")
    assert {"type", "title", "detail", "idempotency_key"} <= refused.keys() & invalid.keys()
    assert api.balance(customer)["available"] == 6


def test_a_batch_of_all_or_nothing_is_done_whole(api: Api) -> None:
    customer = new_customer()

    response = batch(
        api,
        item("grant", customer_id=customer, amount=10),
        item("deduct", customer_id=customer, amount=10),
        mode="all_or_nothing",
    )

    assert statuses(response) == [201, 201]
    assert api.balance(customer)["available"] == 0


def test_one_refusal_refuses_all_and_uses_up_the_key_of_the_batch_alone(api: Api) -> None:
    customer, key = new_customer(), new_key()
    items = [
        item("grant", customer_id=customer, amount=10),
        item("deduct", customer_id=customer, amount=11),
        item("deduct", customer_id=customer, amount=12),
    ]
    head = api.head()

    refused = batch(api, *items, key=key, mode="all_or_nothing")
    again = batch(api, *items, key=key, mode="all_or_nothing")

    assert refused.status_code == 409
    problem = refused.json()
    assert problem["code"] == "batch_refused"
    assert (problem["index"], problem["refused_code"]) == (1, "insufficient_credits")
    assert problem["idempotency_key"] == items[1]["idempotency_key"]
    assert (problem["available"], problem["required"]) == (10, 11)
    assert problem["reason"] == "Not enough credits: 11 needed, 10 available."
    assert problem["detail"] == (
        "commands[1] was refused (insufficient_credits), so none of the batch was done."
    )
    assert api.head() == head
    assert again.content == refused.content
    assert again.headers["idempotency-replayed"] == "true"
    # The commands' own keys are as good as new.
    assert statuses(batch(api, *items)) == [201, 402, 402]


def test_a_value_that_does_not_fit_the_account_refuses_all_too(api: Api) -> None:
    customer = new_customer()

    refused = batch(
        api,
        item("grant", customer_id=customer, amount=10),
        item("grant", customer_id=customer, amount=10, expires_at="2020-01-01T00:00:00Z"),
        mode="all_or_nothing",
    )

    assert refused.status_code == 409
    problem = refused.json()
    assert (problem["refused_code"], problem["index"]) == ("invalid_request", 1)
    assert problem["field"] == "commands[1].expires_at"
    assert problem["reason"].startswith("expires_at: ")
    assert api.balance(customer)["available"] == 0


@pytest.mark.parametrize("mode", ["independent", "all_or_nothing"])
def test_a_repeated_batch_is_told_the_first_answer_byte_for_byte(api: Api, mode: str) -> None:
    customer, key = new_customer(), new_key()
    items = [
        item("grant", customer_id=customer, amount=10),
        item("deduct", customer_id=customer, amount=4, metadata={"a": 1}),
    ]
    first = batch(api, *items, key=key, mode=mode)
    head = api.head()

    again = batch(api, *items, key=key, mode=mode)

    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert api.head() == head


def test_a_repeated_batch_tells_refusals_and_misfits_again_too(api: Api) -> None:
    customer, key = new_customer(), new_key()
    items = [
        item("deduct", customer_id=customer, amount=4),
        item("grant", customer_id=customer, amount=4, source="nobody"),
    ]
    first = batch(api, *items, key=key)
    api.granted(customer, 100)

    again = batch(api, *items, key=key)

    assert statuses(first) == [402, 422]
    assert again.content == first.content


def test_a_key_that_comes_twice_in_a_batch_is_decided_once(api: Api) -> None:
    customer = new_customer()
    twice = item("grant", customer_id=customer, amount=10)

    response = batch(api, twice, twice, item("deduct", customer_id=customer, amount=1))

    assert statuses(response) == [201, 201, 201]
    first, second, third = response.json()["results"]
    assert second == {**first, "replayed": True}
    assert "replayed" not in third
    assert api.balance(customer)["available"] == 9


def test_a_key_that_comes_twice_with_another_command_is_refused(api: Api) -> None:
    customer, key = new_customer(), new_key()

    response = batch(
        api,
        item("grant", customer_id=customer, amount=10, idempotency_key=key),
        item("grant", customer_id=customer, amount=11, idempotency_key=key),
    )

    assert statuses(response) == [201, 422]
    assert response.json()["results"][1]["code"] == "idempotency_key_reused"
    assert api.balance(customer)["available"] == 10


def test_keys_of_batches_and_of_single_commands_are_one_name_space(api: Api) -> None:
    customer, of_item, of_batch = new_customer(), new_key(), new_key()
    path = f"/v1/customers/{customer}/grants"
    in_batch = item("grant", customer_id=customer, amount=10, idempotency_key=of_item)
    batch(api, in_batch, key=of_batch)

    alone = api.post(path, {"amount": 10}, key=of_item)
    as_single = api.post(path, {"amount": 10}, key=of_batch)
    as_batch = batch(api, item("grant", customer_id=customer, amount=10), key=of_item)

    assert (alone.status_code, alone.headers["idempotency-replayed"]) == (201, "true")
    assert as_single.json()["code"] == "idempotency_key_reused"
    assert as_batch.json()["code"] == "idempotency_key_reused"
    assert api.balance(customer)["available"] == 10


def test_after_a_lost_batch_the_keys_of_its_commands_decide(api: Api) -> None:
    customer = new_customer()
    items = [item("grant", customer_id=customer, amount=n) for n in (1, 2, 3)]
    batch(api, *items[:2])

    response = batch(api, *items)

    assert statuses(response) == [201, 201, 201]
    assert [result.get("replayed") for result in response.json()["results"]] == [True, True, None]
    assert api.balance(customer)["available"] == 6


def test_another_order_is_another_batch(api: Api) -> None:
    customer, key = new_customer(), new_key()
    one, other = (item("grant", customer_id=customer, amount=n) for n in (1, 2))
    batch(api, one, other, key=key)

    response = batch(api, other, one, key=key)

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("mode", ["independent", "all_or_nothing"])
def test_a_dry_batch_needs_no_keys_and_writes_nothing(api: Api, mode: str) -> None:
    customer = new_customer()
    head = api.head()
    commands = [
        {"type": "grant", "customer_id": customer, "amount": 10},
        {"type": "deduct", "customer_id": customer, "amount": 4},
    ]

    response = api.http.post(
        "/v1/batches", json={"commands": commands, "mode": mode}, params={"dry_run": "true"}
    )

    assert statuses(response) == [200, 200]
    assert response.json()["dry_run"] is True
    assert response.json()["results"][1]["balance"]["available"] == 6
    assert api.head() == head
    assert api.balance(customer)["available"] == 0


def test_a_dry_batch_of_all_or_nothing_is_refused_as_it_would_be(api: Api) -> None:
    commands = [{"type": "deduct", "customer_id": new_customer(), "amount": 4}]
    body = {"commands": commands, "mode": "all_or_nothing"}

    response = api.http.post("/v1/batches", json=body, params={"dry_run": "true"})

    assert (response.status_code, response.json()["code"]) == (409, "batch_refused")


def test_a_thousand_commands_are_one_batch(api: Api) -> None:
    customer = new_customer()
    items = [item("grant", customer_id=customer, amount=1) for _ in range(1_000)]

    response = batch(api, *items)

    assert statuses(response) == [201] * 1_000
    assert api.balance(customer)["available"] == 1_000


@pytest.mark.parametrize(
    ("commands", "field"),
    [
        ([], "commands"),
        ([item("grant", customer_id="x", amount=1)] * 1_001, "commands"),
        ([item("grant", customer_id="x", amount=0)], "commands[0].amount"),
        ([item("grant", amount=1)], "commands[0].customer_id"),
        ([item("burn", customer_id="x", amount=1)], "commands[0].type"),
        ([{"customer_id": "x", "amount": 1}], "commands[0].type"),
        ([item("capture", hold_id="x", customer_id="x")], "commands[0].customer_id"),
        ([{"type": "release", "hold_id": "x"}], "commands[0].idempotency_key"),
        ([item("release", hold_id="x", idempotency_key="")], "commands[0].idempotency_key"),
        (["grant"], "commands[0]"),
        ({}, "commands"),
    ],
)
def test_a_batch_that_does_not_fit_is_not_tried(api: Api, commands: Any, field: str) -> None:
    head = api.head()

    response = api.post("/v1/batches", {"commands": commands})

    assert response.status_code == 422
    assert (response.json()["code"], response.json()["field"]) == ("invalid_request", field)
    assert api.head() == head


def test_a_batch_of_no_known_mode_is_not_tried(api: Api) -> None:
    response = batch(api, item("release", hold_id="x"), mode="some")

    assert (response.status_code, response.json()["field"]) == (422, "mode")


def test_a_batch_needs_a_key_of_its_own(api: Api) -> None:
    response = api.http.post("/v1/batches", json={"commands": [item("release", hold_id="x")]})

    assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_missing")
