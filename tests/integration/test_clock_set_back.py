"""A machine's clock that is set back by hours: nothing fails, and no account's time goes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api_server import Api, new_key, running_api
from creditledger.domain.answers import instant
from creditledger.infra.sweeper import sweep
from set_clock import Clock

HOUR = timedelta(hours=1)
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
MORNING = NOON - 5 * HOUR


@pytest.fixture
def clock() -> Clock[datetime]:
    return Clock(NOON)


@pytest.fixture
def api(database_url: str, clock: Clock[datetime]) -> Iterator[Api]:
    with running_api(database_url, now=clock) as api:
        yield api


def told(api: Api, customer: str, **params: str) -> dict[str, Any]:
    """A customer's balance, with all that was written."""
    if not params:
        params = {"after_position": str(api.head())}
    response = api.http.get(f"/v1/customers/{customer}/balance", params=params)
    assert response.status_code == 200, response.text
    [balance] = response.json()["balances"]
    return dict(balance)


def moments(api: Api, customer: str) -> list[str]:
    """When the events of a customer's account were recorded, in their order."""
    page = api.http.get("/v1/events", params={"customer_id": customer}).json()
    return [event["recorded_at"] for event in page["events"]]


def test_every_command_is_decided_at_the_account_s_own_moment(
    api: Api, clock: Clock[datetime]
) -> None:
    ada, bob = "/v1/customers/ada", "/v1/customers/bob"
    granted = api.granted("ada", 100, expires_at="2026-09-01T14:00:00Z")["grant_id"]
    held = api.done(f"{ada}/holds", {"amount": 10})["hold_id"]
    clock.now = MORNING

    spent = api.done(f"{ada}/deductions", {"amount": 20})["deduction_id"]
    api.done(f"/v1/holds/{held}/capture", {"amount": 4, "final": False})
    api.done(f"/v1/holds/{held}/release")
    api.done(f"/v1/deductions/{spent}/refunds", {"amount": 5})
    api.done(f"/v1/grants/{granted}/revocations", {"amount": 7})
    api.done(f"/v1/grants/{granted}/reinstatements", {"amount": 2})
    api.granted("ada", 1, expires_after_days=1)
    api.done("/v1/transfers", {"from_customer_id": "ada", "to_customer_id": "bob", "amount": 3})
    for method, path, body in (
        ("PATCH", f"/v1/grants/{granted}", {"expires_at": "2026-09-01T13:00:00Z"}),
        ("PUT", f"{ada}/overage", {"limit": 10}),
    ):
        assert api.command(method, path, body).status_code == 200
    item = {"type": "hold", "customer_id": "ada", "amount": 1, "idempotency_key": new_key()}
    [result] = api.done("/v1/batches", {"commands": [item]})["results"]

    assert set(moments(api, "ada")) == {instant(NOON)}
    assert result["expires_at"] == "2026-09-01T12:15:00.000000Z"
    assert moments(api, "bob") == [instant(MORNING)]
    assert told(api, "ada") == told(api, "ada", consistency="exact")
    assert told(api, "ada")["available"] == 100 - 20 - 4 + 5 - 7 + 2 + 1 - 3 - 1
    assert api.http.get(f"{bob}/entries").json()["entries"][0]["amount"] == 3
    api.prove()


def test_what_was_known_stays_known_and_a_key_keeps_its_answer(
    api: Api, clock: Clock[datetime], database_url: str
) -> None:
    key, refused_key = new_key(), new_key()
    path = "/v1/customers/ada/deductions"
    api.granted("ada", 100)
    first = api.post(path, {"amount": 30}, key=key)
    refused = api.post(path, {"amount": 500}, key=refused_key)
    before = told(api, "ada")
    clock.now = MORNING

    # A process that begins has none of it at hand.
    with (
        running_api(database_url, now=clock, read_side=False) as begun,
        httpx.Client(base_url=begun.url, headers=api.http.headers) as same_client,
    ):
        for one in (api, replace(begun, http=same_client)):
            again = one.post(path, {"amount": 30}, key=key)
            again_refused = one.post(path, {"amount": 500}, key=refused_key)
            assert (again.status_code, again.content) == (201, first.content)
            assert (again_refused.status_code, again_refused.content) == (402, refused.content)
            assert again.headers["idempotency-replayed"] == "true"
            assert told(one, "ada") == told(one, "ada", consistency="exact") == before
        assert begun.done(path, {"amount": 70})["balance"]["available"] == 0
    assert set(moments(api, "ada")) == {instant(NOON)}
    assert api.http.get("/readyz").json()["status"] == "ready"
    api.prove()


def test_what_time_did_is_done_once_however_often_the_clock_passes(
    api: Api, clock: Clock[datetime]
) -> None:
    service = api.service
    api.granted("ada", 100, expires_at=instant(NOON + HOUR))
    held = api.done("/v1/customers/ada/holds", {"amount": 10})["hold_id"]
    clock.now = NOON + 2 * HOUR
    told(api, "ada")
    assert sweep(service.pool, service.writer, clock()) == 1
    gone = told(api, "ada")
    written = api.head()
    assert (gone["available"], gone["held"]) == (0, 0)

    for hour in (-5, 0, 1, 2):
        clock.now = NOON + hour * HOUR
        assert sweep(service.pool, service.writer, clock()) == 0
        assert told(api, "ada") == told(api, "ada", consistency="exact") == gone
        assert api.post(f"/v1/holds/{held}/capture").json()["how"] == "lapsed"
        assert api.post("/v1/customers/ada/deductions", {"amount": 1}).status_code == 402
    assert api.head() == written
    assert moments(api, "ada") == sorted(moments(api, "ada"))
    api.prove()


def test_what_is_due_by_the_clock_that_was_is_due_again_when_it_comes_there(
    api: Api, clock: Clock[datetime]
) -> None:
    service = api.service
    clock.now = MORNING
    api.granted("bob", 5, expires_at=instant(NOON - HOUR))
    clock.now = NOON
    api.granted("ada", 5)
    clock.now = MORNING + HOUR
    told(api, "bob")

    assert sweep(service.pool, service.writer, clock()) == 0
    assert told(api, "bob")["available"] == 5
    clock.now = NOON
    assert told(api, "bob")["available"] == 0
    assert sweep(service.pool, service.writer, clock()) == 1
    api.prove()


def test_how_long_commands_waited_is_told_by_no_clock_that_can_be_set(
    api: Api, clock: Clock[datetime]
) -> None:
    api.granted("ada", 1)
    clock.now = MORNING
    api.granted("ada", 1)

    figures = dict(
        line.rsplit(" ", 1)
        for line in api.http.get("/metrics").text.splitlines()
        if line.startswith("creditledger_") and "_seconds_sum" in line
    )
    assert figures
    assert all(0 <= float(seconds) < 60 for seconds in figures.values()), figures
