"""Every command over HTTP: answers, repeats, refusals, reused keys, dry runs (rules, 9)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from api_commands import (
    BALANCE_FIELDS,
    EVERY_COMMAND,
    EVERY_REFUSAL,
    Prepare,
    PrepareRefusal,
    grant,
    too_little,
)
from api_server import Api, new_customer, new_key, running_api

PROBLEM = "application/problem+json"

every_command = pytest.mark.parametrize("prepare", EVERY_COMMAND, ids=lambda f: f.__name__)
every_refusal = pytest.mark.parametrize("prepare", EVERY_REFUSAL, ids=lambda f: f.__name__)


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[Api]:
    with running_api(shared_database_url, read_side=False) as api:
        yield api


@every_command
def test_a_command_is_answered_with_what_it_made_and_the_balance(
    api: Api, prepare: Prepare
) -> None:
    example = prepare(api)

    response = api.command(example.method, example.path, example.body)

    assert response.status_code == example.status
    assert response.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in response.headers
    answer = response.json()
    assert example.answers | {"position", "balance"} <= answer.keys()
    assert answer["balance"].keys() == BALANCE_FIELDS
    assert answer["position"] == api.head()


@every_command
def test_a_repeat_is_told_the_first_answer_again_byte_for_byte(api: Api, prepare: Prepare) -> None:
    example, key = prepare(api), new_key()
    first = api.command(example.method, example.path, example.body, key=key)
    head = api.head()

    again = api.command(example.method, example.path, example.body, key=key)

    assert again.content == first.content
    assert again.status_code == first.status_code
    assert again.headers["idempotency-replayed"] == "true"
    assert api.head() == head


@every_command
def test_a_key_is_refused_for_another_command(api: Api, prepare: Prepare) -> None:
    example, key = prepare(api), new_key()
    api.command(example.method, example.path, example.body, key=key)
    head = api.head()

    other = api.command(example.method, example.path, example.changed, key=key)

    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert other.json()["idempotency_key"] == key
    assert api.head() == head


@every_command
def test_a_dry_run_tells_the_answer_and_writes_nothing(api: Api, prepare: Prepare) -> None:
    example = prepare(api)
    head = api.head()

    dry = api.http.request(
        example.method, example.path, json=example.body, params={"dry_run": "true"}
    )

    assert dry.status_code == 200
    assert dry.json()["dry_run"] is True
    assert example.answers | {"position", "balance"} <= dry.json().keys()
    assert api.head() == head
    done = api.command(example.method, example.path, example.body)
    assert done.json()["balance"] == dry.json()["balance"]


@every_command
def test_a_command_without_a_key_is_not_tried(api: Api, prepare: Prepare) -> None:
    example = prepare(api)
    head = api.head()

    response = api.http.request(example.method, example.path, json=example.body)

    assert response.status_code == 400
    assert response.json()["code"] == "idempotency_key_missing"
    assert api.head() == head


@every_refusal
def test_a_refusal_tells_its_code_and_the_values_that_matter(
    api: Api, prepare: PrepareRefusal
) -> None:
    refusal = prepare(api)
    head = api.head()

    response = api.command(refusal.method, refusal.path, refusal.body)

    problem = response.json()
    assert (response.status_code, problem["code"]) == (refusal.status, refusal.code)
    assert response.headers["content-type"] == PROBLEM
    assert {"type", "title", "status", "detail", "code"} <= problem.keys()
    assert problem["status"] == refusal.status
    assert refusal.values.items() <= problem.items()
    assert "asked" not in problem
    assert api.head() == head


@every_refusal
def test_a_refusal_is_remembered(api: Api, prepare: PrepareRefusal) -> None:
    refusal, key = prepare(api), new_key()
    first = api.command(refusal.method, refusal.path, refusal.body, key=key)

    again = api.command(refusal.method, refusal.path, refusal.body, key=key)

    assert again.content == first.content
    assert again.status_code == first.status_code
    assert again.headers["content-type"] == PROBLEM
    assert again.headers["idempotency-replayed"] == "true"


@every_refusal
def test_a_dry_run_is_refused_as_the_command_would_be(api: Api, prepare: PrepareRefusal) -> None:
    refusal = prepare(api)

    dry = api.http.request(
        refusal.method, refusal.path, json=refusal.body, params={"dry_run": "true"}
    )

    assert (dry.status_code, dry.json()["code"]) == (refusal.status, refusal.code)


def test_a_refusal_stays_even_when_the_command_would_be_accepted_now(api: Api) -> None:
    customer, key = new_customer(), new_key()
    path = f"/v1/customers/{customer}/deductions"
    first = api.post(path, {"amount": 5}, key=key)
    api.granted(customer, 100)

    again = api.post(path, {"amount": 5}, key=key)

    assert first.status_code == again.status_code == 402
    assert api.post(path, {"amount": 5}).status_code == 201


def test_a_dry_run_uses_no_key(api: Api) -> None:
    customer, key = new_customer(), new_key()
    path = f"/v1/customers/{customer}/grants"

    dry = api.post(path, {"amount": 5}, key=key, dry_run="true")
    done = api.post(path, {"amount": 6}, key=key, dry_run="false")

    assert (dry.status_code, done.status_code) == (200, 201)
    assert api.balance(customer)["available"] == 6


def test_what_does_not_fit_does_not_use_the_key_up(api: Api) -> None:
    key = new_key()
    path = f"/v1/customers/{new_customer()}/grants"

    for wrong in ({"amount": 0}, {"amount": 5, "source": "nowhere"}):
        assert api.post(path, wrong, key=key).status_code == 422
    assert api.post(path, {"amount": 5}, key=key).status_code == 201


def test_what_came_too_late_uses_the_key_up(api: Api) -> None:
    customer, key = new_customer(), new_key()
    path = f"/v1/customers/{customer}/grants"
    late = {"amount": 5, "expires_at": "2020-01-01T00:00:00Z"}

    first = api.post(path, late, key=key)
    again = api.post(path, late, key=key)
    mended = api.post(path, {"amount": 5}, key=key)

    assert (first.status_code, first.json()["code"]) == (422, "invalid_request")
    assert first.json()["field"] == "expires_at"
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert mended.json()["code"] == "idempotency_key_reused"
    receipt = api.http.get(f"/v1/receipts/{first.json()['receipt_id']}").json()
    assert receipt["outcome"] == "invalid_request"


def test_defaults_that_are_written_out_are_the_same_command(api: Api) -> None:
    key = new_key()
    path = f"/v1/customers/{new_customer()}/grants"

    first = api.post(path, {"amount": 5}, key=key)
    again = api.post(
        path, {"metadata": None, "source": "adjustment", "asset": "credits", "amount": 5}, key=key
    )

    assert again.content == first.content


def test_a_key_belongs_to_the_client_and_not_to_others(api: Api) -> None:
    customer, key = new_customer(), new_key()
    path = f"/v1/customers/{customer}/grants"
    api.post(path, {"amount": 5}, key=key)

    with api.client_with("commands") as other:
        response = other.post(path, json={"amount": 7}, headers={"Idempotency-Key": key})

    assert response.status_code == 201
    assert api.balance(customer)["available"] == 12


def test_many_at_once_with_one_key_are_decided_once(api: Api) -> None:
    customer, key = new_customer(), new_key()
    path = f"/v1/customers/{customer}/grants"

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: api.post(path, {"amount": 5}, key=key), range(16)))

    assert {response.status_code for response in responses} == {201}
    assert len({response.content for response in responses}) == 1
    assert sum("idempotency-replayed" in response.headers for response in responses) == 15
    assert api.balance(customer)["available"] == 5


def test_a_body_with_nothing_required_may_be_left_out(api: Api) -> None:
    customer = new_customer()
    api.granted(customer, 50)
    hold_id = api.done(f"/v1/customers/{customer}/holds", {"amount": 20})["hold_id"]

    response = api.http.post(f"/v1/holds/{hold_id}/capture", headers={"Idempotency-Key": new_key()})

    assert response.status_code == 201
    assert response.json()["balance"]["available"] == 30


def test_a_hold_that_has_lapsed_is_closed(api: Api) -> None:
    customer = new_customer()
    api.granted(customer, 50)
    held = api.done(f"/v1/customers/{customer}/holds", {"amount": 20, "expires_in": 1})
    time.sleep(1.1)

    late = api.post(f"/v1/holds/{held['hold_id']}/capture")
    released = api.post(f"/v1/holds/{held['hold_id']}/release")

    assert (late.status_code, late.json()["how"]) == (409, "lapsed")
    assert (released.status_code, released.json()["released"]) == (200, 0)


def test_overage_pays_what_lots_cannot(api: Api) -> None:
    customer = new_customer()
    api.granted(customer, 10)
    api.command("PUT", f"/v1/customers/{customer}/overage", {"limit": 5})

    spent = api.done(f"/v1/customers/{customer}/deductions", {"amount": 15})
    over = api.post(f"/v1/customers/{customer}/deductions", {"amount": 1})

    assert (spent["overage"], spent["balance"]["overage"]) == (5, 5)
    assert over.status_code == 402


def test_a_command_says_who_wished_it_and_what_it_belongs_to(api: Api) -> None:
    example = grant(api)
    headers = {"Idempotency-Key": new_key(), "Correlation-Id": "order 17"}

    answer = api.http.post(example.path, json=example.body, headers=headers).json()

    after = answer["position"] - 1
    event = api.http.get("/v1/events", params={"after": after, "limit": 1}).json()["events"][0]
    assert event["correlation_id"] == "order 17"
    assert event["causation_id"] == answer["receipt_id"]
    assert event["actor"].startswith("client:")
    assert event["happened_at"] == "2025-12-31T22:00:00.000000Z"
    assert event["metadata"] == {"order": "a-1", "lines": 2, "gift": False}


def test_commands_are_counted_by_type_and_outcome(api: Api) -> None:
    api.granted(new_customer(), 1)
    refusal = too_little(api)
    api.command(refusal.method, refusal.path, refusal.body)

    figures = api.http.get("/metrics").text

    for outcome in ('command="grant",outcome="accepted"', 'outcome="insufficient_credits"'):
        assert outcome in figures
    assert (
        'creditledger_request_seconds_count{route="/v1/customers/{customer_id}/grants"' in figures
    )
