"""What callers are told while the database does not answer, or too much waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep
from urllib.parse import urlsplit

import pytest
from psycopg import sql

from api_server import PATIENCE_SECONDS, Api, new_customer, new_key, running_api
from creditledger.api import desk
from creditledger.infra.database import connect
from creditledger.infra.wiring import Service


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url, read_side=False, write_queue_limit=2) as api:
        yield api


@contextmanager
def log_locked(service: Service) -> Iterator[None]:
    """Keep the writer from committing until the block ends."""
    with connect(service.url, "tests") as connection, connection.transaction():
        connection.execute("LOCK TABLE ledger_events IN EXCLUSIVE MODE")
        yield


@contextmanager
def without_database(server: str, service: Service) -> Iterator[None]:
    """Nobody can connect to the database until the block ends, and nobody is."""
    name = urlsplit(service.url).path.removeprefix("/")
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with connect(server, "tests") as connection:
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def until(condition: Callable[[], bool]) -> None:
    """Return when it is so."""
    deadline = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


def test_a_command_waits_for_the_one_with_its_key(api: Api) -> None:
    key, path = new_key(), f"/v1/customers/{new_customer()}/grants"

    with ThreadPoolExecutor(2) as pool:
        with log_locked(api.service):
            both = [pool.submit(api.post, path, {"amount": 5}, key=key) for _ in range(2)]
            sleep(0.3)
            assert not any(one.done() for one in both)
        first, second = (one.result() for one in both)

    assert first.content == second.content
    assert [("idempotency-replayed" in one.headers) for one in (first, second)].count(True) == 1


def test_a_command_does_not_wait_for_ever(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "COMMAND_WAIT_SECONDS", 0.2)
    key, path = new_key(), f"/v1/customers/{new_customer()}/grants"

    with ThreadPoolExecutor(1) as pool:
        with log_locked(api.service):
            first = pool.submit(api.post, path, {"amount": 5}, key=key)
            sleep(0.3)
            second = api.post(path, {"amount": 5}, key=key)
        assert first.result().status_code == 201

    assert (second.status_code, second.json()["code"]) == (409, "command_in_progress")
    assert second.headers["retry-after"] == "1"
    assert api.post(path, {"amount": 5}, key=key).content == first.result().content


def test_past_the_bound_of_the_queue_nothing_is_tried(api: Api) -> None:
    path = f"/v1/customers/{new_customer()}/grants"

    with ThreadPoolExecutor(3) as pool:
        with log_locked(api.service):
            busy = [pool.submit(api.post, path, {"amount": 1})]
            sleep(0.3)
            busy += [pool.submit(api.post, path, {"amount": 1}) for _ in range(2)]
            until(lambda: api.service.writer.queued_commands == 2)
            refused = api.post(path, {"amount": 1})
        assert [one.result().status_code for one in busy] == [201, 201, 201]

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"


def test_without_the_database_callers_are_told_so_and_the_service_recovers(
    api: Api, postgres_url: str
) -> None:
    customer, key = new_customer(), new_key()
    path, balance = f"/v1/customers/{customer}/grants", f"/v1/customers/{customer}/balance"
    api.granted(customer, 5)

    with without_database(postgres_url, api.service), ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(api.post, path, {"amount": 7}, key=key)] + [
            pool.submit(api.http.get, question)
            for question in (
                balance,
                f"{balance}?consistency=exact",
                "/v1/grants/x",
                "/readyz",
                "/healthz",
            )
        ]
        command, query, exact, lookup, ready, alive = (one.result() for one in asked)

    for response in (command, query, exact, lookup):
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert response.headers["retry-after"] == "1"
    assert "the same key" in command.json()["detail"]
    for response in (query, exact, lookup):
        assert response.json()["detail"] == "The database does not answer. Ask again soon."
    assert (ready.status_code, alive.status_code) == (503, 200)
    until(lambda: api.post(path, {"amount": 7}, key=key).status_code == 201)
    assert api.balance(customer)["available"] == 12


def test_a_key_that_is_not_known_yet_cannot_be_checked_without_the_database(
    api: Api, postgres_url: str
) -> None:
    with (
        api.client_with("commands") as client,
        without_database(postgres_url, api.service),
    ):
        response = client.post(
            "/v1/customers/c/grants", json={"amount": 1}, headers={"Idempotency-Key": new_key()}
        )

    assert (response.status_code, response.json()["code"]) == (503, "unavailable")


def test_a_fault_is_told_by_the_name_of_its_log_line(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(api.service.url, "tests") as connection:
        connection.execute("ALTER TABLE accounts RENAME TO elsewhere")

    response = api.http.get("/v1/customers/c/balance")

    problem = response.json()
    assert (response.status_code, problem["code"]) == (500, "internal_error")
    assert problem["correlation_id"] in caplog.text
    assert "UndefinedTable" in caplog.text
    assert "accounts" not in response.text


def test_requests_in_hand_are_answered_when_the_service_stops(database_url: str) -> None:
    with running_api(database_url, read_side=False) as api:
        path = f"/v1/customers/{new_customer()}/grants"
        told: list[int] = []
        thread = threading.Thread(
            target=lambda: told.append(api.post(path, {"amount": 1}).status_code)
        )
        with log_locked(api.service):
            thread.start()
            sleep(0.3)
        thread.join()

    assert told == [201]
