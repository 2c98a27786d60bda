"""Times up to the end of the year 9999 are taken, on a database in any time zone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg import sql

from api_server import Api, new_customer, running_api
from creditledger.infra.database import connect

LAST = "9999-12-31T23:59:59.999999Z"


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[Api]:
    """The API on a database whose day begins long before that of UTC."""
    name = urlsplit(shared_database_url).path.removeprefix("/")
    with connect(shared_database_url, "tests") as connection:
        statement = sql.SQL("ALTER DATABASE {} SET timezone TO 'Pacific/Kiritimati'")
        connection.execute(statement.format(sql.Identifier(name)))
    with running_api(shared_database_url) as api:
        yield api


def balance(api: Api, customer: str, **params: str) -> dict[str, Any]:
    response = api.http.get(f"/v1/customers/{customer}/balance", params=params)
    assert response.status_code == 200, response.text
    [found] = response.json()["balances"]
    return dict(found)


def test_a_grant_may_end_with_the_last_moment_and_is_spent_before_one_that_never_does(
    api: Api,
) -> None:
    customer = new_customer()
    never = api.granted(customer, 10)["grant_id"]
    ending = api.granted(customer, 10, expires_at=LAST)["grant_id"]

    spent = api.done(f"/v1/customers/{customer}/deductions", {"amount": 15})

    assert [(lot["grant_id"], lot["expires_at"]) for lot in spent["from"]] == [
        (ending, LAST),
        (never, None),
    ]
    assert balance(api, customer, consistency="exact")["available"] == 5
    assert balance(api, customer, after_position=spent["position"])["available"] == 5


def test_what_ends_or_starts_with_the_last_moment_is_told_everywhere(api: Api) -> None:
    customer = new_customer()
    grant_id = api.granted(customer, 10, expires_at="9999-12-31T23:59:59Z")["grant_id"]
    api.command("PATCH", f"/v1/grants/{grant_id}", {"expires_at": LAST})
    api.granted(customer, 7, effective_at=LAST)
    position = api.done(f"/v1/customers/{customer}/holds", {"amount": 4})["position"]

    page = f"/v1/customers/{customer}/entries"
    now = balance(api, customer, after_position=position)
    entries = api.http.get(page, params={"since": "1970-01-01T00:00:00Z", "until": LAST}).json()
    before = balance(api, customer, at="9999-12-31T23:59:59.999998Z")
    after = balance(api, customer, at=LAST)

    assert api.http.get(f"/v1/grants/{grant_id}").json()["expires_at"] == LAST
    assert len(entries["entries"]) == 4
    assert (now["available"], now["held"], now["next_expiry"]) == (6, 4, LAST)
    assert (before["available"], before["scheduled"], before["next_expiry"]) == (10, 7, LAST)
    assert (after["available"], after["scheduled"]) == (7, 0)


def test_a_proof_agrees_with_all_of_that(api: Api) -> None:
    api.prove()


@pytest.mark.parametrize(
    "moment",
    ["9999-12-31T23:59:59-00:01", "1969-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59"],
)
def test_a_time_outside_is_refused_with_the_first_and_the_last_that_are_taken(
    api: Api, moment: str
) -> None:
    response = api.post("/v1/customers/c/grants", {"amount": 5, "expires_at": moment})

    assert response.status_code == 422
    assert response.json()["reason"] == f"should lie between 1970-01-01T00:00:00.000000Z and {LAST}"
