"""What webhooks cost: a burst of signed deliveries, at the edge alone and until all is booked.

The deliveries are those of the acceptance test of the same name: stories of purchases, refunds and
disputes, shuffled, a third of them repetitions. The time until a balance shows is taken apart from
them, at a rate that leaves the machine time to rest.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
from rich.console import Console
from rich.table import Table

from burst_story import burst, purchase
from creditledger.infra.migrate import migrate
from kafka_broker import some_broker
from processes import API_KEY, Process
from provider_bodies import PLANS, PRICES
from sending import POLAR_SECRET, STRIPE_SECRET, Sending
from yardstick import Ruler

_DELIVERIES = 8_000
_CUSTOMERS = 800

#: Purchases whose balance is waited for, and how many are made in a second.
_PURCHASES = 150
_PURCHASES_PER_SECOND = 25

_LOOK_SECONDS = 0.005
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Found:
    """Deliveries a second, and latencies in milliseconds."""

    edge_per_second: float
    edge_p50_ms: float
    edge_p99_ms: float
    booked_per_second: float
    visible_p50_ms: float
    visible_p99_ms: float


def show(console: Console, dsn: str, *, ruler_seconds: int) -> None:
    """Measure on each stream that is to be had, and print a table."""
    table = Table(
        *("stream", "at the edge/s", "ratio", "p50 ms", "p99 ms", "booked/s", "ratio"),
        *("seen p50", "p99 ms"),
        title="Webhooks",
    )
    ruler = Ruler(dsn, seconds=ruler_seconds)
    with ruler.beside() as beside:
        found = measure(dsn, {})
    _add(table, "PostgreSQL", found, beside.per_second)
    try:
        with some_broker() as address:
            with ruler.beside() as beside:
                found = measure(dsn, {"KAFKA_BOOTSTRAP_SERVERS": address})
            _add(table, "Kafka", found, beside.per_second)
    except pytest.skip.Exception as reason:
        console.print(f"[bold red]WEBHOOKS WERE NOT MEASURED ON KAFKA: {reason}")
    console.print(table)


def measure(dsn: str, stream: Mapping[str, str]) -> Found:
    """Deliver to the API alone, then to all of the service, each on a database of its own."""
    made = burst(_DELIVERIES, _CUSTOMERS, Random(1))
    with _served(dsn, stream) as (serve, _, _):
        began = time.perf_counter()
        with Sending(serve.url, made.sent) as sending:
            sending.join()
        edge_per_second = _DELIVERIES / (time.perf_counter() - began)
        edge = sorted(sending.took)
    with _served(dsn, stream) as (serve, work, address):
        work.start()
        with _client(serve.url) as http:
            _buy(http, "first")
        began = time.perf_counter()
        with Sending(serve.url, made.sent) as sending:
            sending.join()
        _wait_until_settled(address, made.different + 1)
        booked_per_second = _DELIVERIES / (time.perf_counter() - began)
        visible = sorted(_visible(serve.url))
    return Found(
        edge_per_second=edge_per_second,
        edge_p50_ms=1_000 * edge[len(edge) // 2],
        edge_p99_ms=1_000 * edge[len(edge) * 99 // 100],
        booked_per_second=booked_per_second,
        visible_p50_ms=1_000 * visible[len(visible) // 2],
        visible_p99_ms=1_000 * visible[len(visible) * 99 // 100],
    )


def _add(table: Table, name: str, found: Found, yardstick_per_second: float) -> None:
    table.add_row(
        name,
        f"{found.edge_per_second:,.0f}",
        f"{found.edge_per_second / yardstick_per_second:.2f}",
        f"{found.edge_p50_ms:.1f}",
        f"{found.edge_p99_ms:.1f}",
        f"{found.booked_per_second:,.0f}",
        f"{found.booked_per_second / yardstick_per_second:.2f}",
        f"{found.visible_p50_ms:.1f}",
        f"{found.visible_p99_ms:.1f}",
    )


@contextmanager
def _served(dsn: str, stream: Mapping[str, str]) -> Iterator[tuple[Process, Process, str]]:
    """An API with prices, a worker that is yet to be started, and their database."""
    name = f"webhooks_{uuid.uuid4().hex}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    address = urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
    migrate(address)
    settings = {
        "STRIPE_WEBHOOK_SECRETS": STRIPE_SECRET,
        "POLAR_WEBHOOK_SECRETS": POLAR_SECRET,
        "KAFKA_WEBHOOKS_TOPIC": name,
        "KAFKA_WEBHOOKS_GROUP": name,
        "KAFKA_EVENTS_TOPIC": f"{name}.events",
        **stream,
    }
    with tempfile.TemporaryDirectory(prefix="creditledger-bench-") as folder:
        work = Process("work", address, Path(folder), **settings)
        try:
            with Process("serve", address, Path(folder), **settings) as serve:
                _set_prices(serve.url)
                yield serve, work, address
        finally:
            work.__exit__()


def _set_prices(url: str) -> None:
    with _client(url) as http:
        for price in (*PRICES, *PLANS):
            path = f"/v1/prices/{price.provider}/{price.price_id}"
            http.put(path, json={"credits": price.credits, "kind": price.kind}).raise_for_status()


def _wait_until_settled(dsn: str, deliveries: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    statement = "SELECT count(*) FROM webhook_deliveries WHERE status IN ('done', 'ignored')"
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(statement).fetchall() != [(deliveries,)]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{deliveries} deliveries were not booked in time")
            time.sleep(0.05)


def _visible(url: str) -> list[float]:
    """Seconds from the 202 of each purchase to the balance that shows it."""

    def one(number: int) -> float:
        time.sleep(max(0.0, began + number / _PURCHASES_PER_SECOND - time.monotonic()))
        return _buy(http, f"visible-{number}")

    with _client(url) as http, ThreadPoolExecutor(8) as threads:
        began = time.monotonic()
        return list(threads.map(one, range(_PURCHASES)))


def _buy(http: httpx.Client, customer: str) -> float:
    """Let a customer buy something; seconds from the 202 until its balance shows it."""
    with Sending(str(http.base_url), [purchase(customer)], connections=1) as sending:
        sending.join()
    began = time.perf_counter()
    while True:
        answer = http.get(f"/v1/customers/{customer}/balance")
        answer.raise_for_status()
        if any(balance["available"] for balance in answer.json()["balances"]):
            return time.perf_counter() - began
        if time.perf_counter() - began > _PATIENCE_SECONDS:
            raise TimeoutError(f"the purchase of {customer} does not show")
        time.sleep(_LOOK_SECONDS)


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=10)
