"""The short way through the application and the long one tell a caller the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api_server import Api, new_customer, new_key, running_api

#: What differs from one request to the next, whichever way it goes: ids, positions, times.
_OWN = re.compile(r'"(\w+_id|position)":("[^"]*"|\d+)|\d{4}-\d\d-\d\dT[\d:.]+Z')


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[Api]:
    with running_api(shared_database_url, read_side=False) as api:
        yield api


def told(response: httpx.Response) -> tuple[int, dict[str, str], str]:
    """What a caller was told, without what is its own alone."""
    headers = {k: v for k, v in response.headers.items() if k not in ("date", "content-length")}
    return response.status_code, headers, _OWN.sub("…", response.text)


def both_ways(
    api: Api,
    part: str,
    body: bytes | Any,
    *,
    method: str = "POST",
    query: str = "",
    **headers: str,
) -> tuple[httpx.Response, httpx.Response]:
    """The answers to one request on the short way, and on the long one, for two new customers.

    An id that is sent with an escape goes the long way (`%2D` is a hyphen).
    """
    sent = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answers = []
    for name in (new_customer(), new_customer().replace("-", "%2D")):
        path = f"/v1/customers/{name}/{part}{query}"
        keyed = {"Idempotency-Key": new_key(), **sent}
        keyed = {name: value for name, value in keyed.items() if value}
        answers.append(api.http.request(method, path, content=content, headers=keyed))
    return answers[0], answers[1]


@pytest.mark.parametrize(
    ("part", "body", "headers", "status"),
    [
        ("grants", {"amount": 5, "source": "top_up"}, {}, 201),
        ("deductions", {"amount": 5}, {}, 402),
        ("holds", {"amount": 0}, {}, 422),
        ("holds", {"amount": 1, "unknown": 1}, {}, 422),
        ("deductions", b"{", {}, 400),
        ("deductions", b"", {}, 400),
        ("deductions", b" " * (1024 * 1024 + 1), {}, 413),
        ("grants", {"amount": 5}, {"Content_Type": "text/plain"}, 415),
        ("grants", {"amount": 5}, {"Idempotency_Key": ""}, 400),
        ("grants", {"amount": 5}, {"Idempotency_Key": "x" * 256}, 422),
        ("grants", {"amount": 5}, {"Authorization": "Bearer nobody"}, 401),
        ("grants", {"amount": 5, "happened_at": "2999-01-01T00:00:00Z"}, {}, 422),
    ],
)
def test_both_ways_tell_the_same(
    api: Api, part: str, body: Any, headers: dict[str, str], status: int
) -> None:
    short, long = both_ways(api, part, body, **headers)
    assert short.status_code == status
    assert told(short) == told(long)


def test_both_ways_try_out_and_refuse_other_queries(api: Api) -> None:
    for query, status in (("?dry_run=true", 200), ("?dry_run=1", 422), ("?dry=true", 422)):
        short, long = both_ways(api, "grants", {"amount": 5}, query=query)
        assert short.status_code == status
        assert told(short) == told(long)


def test_a_key_that_is_not_needed_must_fit_nevertheless(api: Api) -> None:
    query = "?dry_run=true"
    short, long = both_ways(api, "grants", {"amount": 5}, query=query, Idempotency_Key="x" * 256)
    assert short.status_code == 422
    assert told(short) == told(long)


def test_both_ways_look_at_the_scope(api: Api) -> None:
    with api.client_with("read") as http:
        path, body = f"/v1/customers/{new_customer()}/grants", {"amount": 5}
        headers = {"Idempotency-Key": new_key()}
        short = http.post(path, json=body, headers=headers)
        long = http.post(path.replace("-", "%2D", 1), json=body, headers=headers)
    assert short.status_code == 403
    assert told(short) == told(long)


def test_both_ways_find_one_receipt(api: Api) -> None:
    customer, key = new_customer(), new_key()
    short = api.post(f"/v1/customers/{customer}/grants", {"amount": 5}, key=key)
    long = api.post(f"/v1/customers/{customer.replace('-', '%2D')}/grants", {"amount": 5}, key=key)
    assert short.status_code == long.status_code == 201
    assert "idempotency-replayed" not in short.headers
    assert long.headers["idempotency-replayed"] == "true"
    assert short.content == long.content


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/customers/ada/grants", 405),
        ("POST", "/v1/customers//grants", 404),
        ("POST", "/v2/customers/ada/grants", 404),
        ("POST", "/v1/customers/ada/nothing", 404),
        ("POST", "/v1%2Fbatches", 404),
        ("POST", "/v1/batches/", 307),
        ("GET", "/v1/batches", 405),
        ("GET", "/webhooks/stripe", 405),
        ("POST", "/v1/holds/ada/grants", 404),
    ],
)
def test_what_is_not_there_is_not_there(api: Api, method: str, path: str, status: int) -> None:
    assert api.command(method, path, {"amount": 5}).status_code == status


def test_a_proxy_is_believed_how_a_request_came(api: Api) -> None:
    sent = {"X-Forwarded-Proto": "https"}
    answer = api.http.get("/v1/customers/ada/balance/", headers=sent, follow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["location"].startswith("https://")


def test_both_ways_are_measured_under_the_same_route(api: Api) -> None:
    route = "/v1/customers/{customer_id}/holds"
    counted = re.compile(
        rf'creditledger_request_seconds_count{{route="{re.escape(route)}",status="402"}} (\S+)'
    )

    def count() -> float:
        found = counted.search(api.http.get("/metrics").text)
        return float(found[1]) if found else 0.0

    before = count()
    both_ways(api, "holds", {"amount": 5})
    assert count() == before + 2


def balances(api: Api, query: str = "", **headers: str) -> tuple[httpx.Response, httpx.Response]:
    """The answers to one query for a customer on both ways."""
    paths = (f"/v1/customers/{new_customer()}/balance", "/v1/customers/some%2Done/balance")
    short, long = (api.http.get(path + query, headers=headers) for path in paths)
    return short, long


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?asset=tokens", 200),
        ("?consistency=exact", 200),
        ("?after_position=0", 200),
        ("?asset=", 422),
        ("?consistency=any", 422),
        ("?after_position=x", 422),
        ("?at=yesterday", 422),
        ("?at=2026-01-01T00:00:00Z&after_position=1", 422),
        ("?unknown=1", 422),
        ("?asset=a&asset=b", 422),
        ("?asset=%ff", 400),
    ],
)
def test_both_ways_tell_the_same_balance(api: Api, query: str, status: int) -> None:
    short, long = balances(api, query)
    assert short.status_code == status
    assert told(short) == told(long)


def test_both_ways_ask_who_wants_a_balance(api: Api) -> None:
    short, long = balances(api, Authorization="Bearer nobody")
    assert short.status_code == 401
    assert told(short) == told(long)


def test_all_that_does_not_fit_is_told_at_once(api: Api) -> None:
    answer = api.http.get(f"/v1/customers/{'x' * 129}/balance?consistency=any&unknown=1")
    fields = [error["field"] for error in answer.json()["errors"]]
    assert fields == ["customer_id", "consistency", "unknown"]
