"""Who may call what: keys, scopes, and what is open to all."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from api_server import Api, new_customer, new_key, running_api
from creditledger.infra.clients import SCOPES, Scope, create_client, keys, revoke_key, rotate_key
from creditledger.infra.database import connect

#: One route for each scope, with the status that it answers where the key is good.
DOORS: tuple[tuple[Scope, str, str, int], ...] = (
    ("commands", "POST", "/v1/customers/c/grants", 201),
    ("commands", "POST", "/v1/batches", 422),
    ("read", "GET", "/v1/customers/c/balance", 200),
    ("read", "GET", "/v1/receipts/x", 404),
    ("read", "GET", "/v1/payments", 200),
    ("events", "GET", "/v1/events", 200),
    ("admin", "PUT", "/v1/prices/stripe/price_1", 422),
)

doors = pytest.mark.parametrize(("scope", "method", "path", "status"), DOORS)


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[Api]:
    with running_api(shared_database_url, read_side=False) as api:
        yield api


@pytest.fixture(scope="module")
def stranger(api: Api) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=api.url) as client:
        yield client


def knock(client: httpx.Client, method: str, path: str, **headers: str) -> httpx.Response:
    headers["Idempotency-Key"] = new_key()
    body = None if method == "GET" else {"amount": 1}
    return client.request(method, path, json=body, headers=headers)


@doors
def test_a_key_with_the_scope_opens(
    api: Api, scope: Scope, method: str, path: str, status: int
) -> None:
    with api.client_with(scope) as client:
        assert knock(client, method, path).status_code == status


@doors
def test_a_key_with_all_other_scopes_does_not(
    api: Api, scope: Scope, method: str, path: str, status: int
) -> None:
    head = api.head()

    with api.client_with(*(other for other in SCOPES if other != scope)) as client:
        response = knock(client, method, path)

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert response.json()["needed_scope"] == scope
    assert response.headers["content-type"] == "application/problem+json"
    assert api.head() == head


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic {key}", "{key}", "Bearer {key}x",
     "Bearer x{key}", "Bearer clk_" + "é" * 40, "Bearer {key} {key}"],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [door[1:3] for door in DOORS])
def test_without_a_good_key_nothing_opens(
    api: Api, stranger: httpx.Client, method: str, path: str, authorization: str | None
) -> None:
    key = api.http.headers["authorization"].removeprefix("Bearer ")
    headers: list[tuple[bytes, bytes]] = [(b"Idempotency-Key", new_key().encode())]
    if authorization is not None:
        headers.append((b"Authorization", authorization.format(key=key).encode()))
    head = api.head()

    response = stranger.request(method, path, json={"amount": 1}, headers=headers)

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert api.head() == head


def test_the_word_bearer_may_be_written_in_any_case(api: Api) -> None:
    authorization = api.http.headers["authorization"].replace("Bearer", "bEARER")

    assert knock(api.http, "GET", "/v1/events", Authorization=authorization).status_code == 200


def test_two_keys_are_one_too_many(api: Api, stranger: httpx.Client) -> None:
    good = api.http.headers["authorization"]
    headers = [("Authorization", good), ("Authorization", good), ("Idempotency-Key", new_key())]

    for method, path in (("POST", "/v1/customers/c/grants"), ("GET", "/v1/events")):
        response = stranger.request(method, path, json={}, headers=headers)
        assert (response.status_code, response.json()["field"]) == (422, "authorization")


def test_who_may_not_is_told_so_before_the_body_is_looked_at(stranger: httpx.Client) -> None:
    response = stranger.post("/v1/customers/c/grants", content=b"{" * 2_000_000)

    assert response.status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"])
def test_operations_and_the_manual_are_open(stranger: httpx.Client, path: str) -> None:
    assert stranger.get(path).status_code == 200


def test_keys_of_one_client_share_their_idempotency_keys(api: Api, stranger: httpx.Client) -> None:
    path, key = f"/v1/customers/{new_customer()}/grants", new_key()
    with connect(api.service.url, "tests") as connection:
        name = f"rotating-{new_key()}"
        _, first = create_client(connection, name, ["commands"])
        old = keys(connection, name)[0]
        second = rotate_key(connection, old.key_id, overlap_seconds=60)

    answers = [
        stranger.post(
            path,
            json={"amount": 5},
            headers={"Authorization": f"Bearer {one}", "Idempotency-Key": key},
        )
        for one in (first, second)
    ]

    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotency-replayed"] == "true"


def test_a_revoked_key_opens_nothing(api: Api, stranger: httpx.Client) -> None:
    with connect(api.service.url, "tests") as connection:
        name = f"revoked-{new_key()}"
        _, key = create_client(connection, name, SCOPES)
        revoke_key(connection, keys(connection, name)[0].key_id)

    response = stranger.get("/v1/events", headers={"Authorization": f"Bearer {key}"})

    assert response.status_code == 401
