"""A parameter that nobody would hear is refused on every route, whatever it asks for."""

from __future__ import annotations

import re

import httpx
import pytest

from api_server import Api, new_key

#: What others call in their own ways: providers at addresses that merchants entered, probes,
#: scrapers and browsers. A parameter there asks the ledger for nothing.
OPEN_TO_OTHERS = {
    "POST /webhooks/stripe",
    "POST /webhooks/polar",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
}


def routes(api: Api) -> set[str]:
    """Every method and path of the app, but for its own documents."""
    document = api.http.get("/openapi.json").json()
    return {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
    }


def ask(http: httpx.Client, route: str, **query: str) -> httpx.Response:
    """Ask a route, about a thing called `stripe`, with a body that misses what it needs."""
    method, path = route.replace("{provider}", "stripe").split()
    return http.request(
        method,
        re.sub(r"{\w+}", "stripe", path),
        params=query,
        headers={"Idempotency-Key": new_key()},
        json={} if method != "GET" else None,
    )


def test_every_route_refuses_a_parameter_that_it_does_not_know(api: Api) -> None:
    asked = routes(api)
    assert asked > OPEN_TO_OTHERS
    head = api.head()

    for route in asked - OPEN_TO_OTHERS:
        response = ask(api.http, route, colour="red")

        problem = response.json()
        assert (response.status_code, problem["code"]) == (422, "invalid_request"), route
        assert (problem["field"], problem["reason"]) == ("colour", "is not known here"), route
    assert api.head() == head


def test_who_may_not_ask_is_told_that_first(api: Api) -> None:
    with httpx.Client(base_url=api.url) as nobody:
        for route in routes(api) - OPEN_TO_OTHERS:
            assert ask(nobody, route, colour="red").status_code == 401, route


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/prices/stripe/price_dry", {"credits": 5}),
        ("/v1/links/stripe/cus_dry", {"customer_id": "acme"}),
    ],
)
def test_what_is_entered_has_no_dry_run_and_says_so(
    api: Api, path: str, body: dict[str, object]
) -> None:
    head = api.head()

    response = api.command("PUT", path, body, dry_run="true")

    assert (response.status_code, response.json()["field"]) == (422, "dry_run")
    assert api.head() == head


def test_all_unknown_parameters_are_told_at_once(api: Api) -> None:
    response = api.http.get("/v1/grants/x", params={"foo": "1", "bar": "2"})

    assert [error["field"] for error in response.json()["errors"]] == ["foo", "bar"]
