"""A burst of signed deliveries while the consumer is killed again and again: nothing is lost."""

from __future__ import annotations

import os
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any, Final

import httpx
import pytest
from psycopg import Connection

from burst_story import Burst, burst
from creditledger.infra.database import connect
from kafka_broker import kafka_settings
from processes import API_KEY, COMMAND, Process
from provider_bodies import PLANS, PRICES
from sending import POLAR_SECRET, STRIPE_SECRET, Sending

pytestmark = [pytest.mark.slow, pytest.mark.alone]

DELIVERIES: Final = 50_000
CUSTOMERS: Final = 5_000
KILLS: Final = 5

#: Another one is another story, as reproducible.
SEED: Final = 20_261_121

#: Nothing more comes of a burst where so long nothing is booked: Kafka needs ten of them to see
#: that a consumer is gone.
_QUIET_SECONDS: Final = 60.0


@pytest.fixture(params=["postgres", "kafka"])
def stream(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of a stream of deliveries."""
    if request.param == "postgres":
        return {}
    said = kafka_settings(request.getfixturevalue("kafka"))
    names = ("bootstrap_servers", "webhooks_topic", "webhooks_group")
    settings = {f"KAFKA_{name.upper()}": str(getattr(said, f"kafka_{name}")) for name in names}
    return {**settings, "KAFKA_EVENTS_TOPIC": f"{said.kafka_webhooks_topic}.events"}


class Table:
    """What became of the deliveries so far."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def statuses(self) -> Counter[str]:
        rows = self._connection.execute(
            "SELECT status, count(*) FROM webhook_deliveries GROUP BY status"
        ).fetchall()
        return Counter(dict(rows))

    def settled(self) -> int:
        found = self.statuses()
        return found["done"] + found["ignored"]

    def wait_for(self, settled: int) -> None:
        """Return when so many deliveries are settled for good."""
        last, since = -1, monotonic()
        while (found := self.settled()) < settled:
            if found != last:
                last, since = found, monotonic()
            assert monotonic() - since < _QUIET_SECONDS, f"nothing moves at {self.statuses()}"
            sleep(0.1)


def test_a_burst_with_the_consumer_killed_on_the_way(
    database_url: str, stream: dict[str, str], tmp_path: Path
) -> None:
    chance = Random(SEED)
    made = burst(DELIVERIES, CUSTOMERS, chance)
    settings = {
        **stream,
        "STRIPE_WEBHOOK_SECRETS": STRIPE_SECRET,
        "POLAR_WEBHOOK_SECRETS": POLAR_SECRET,
    }
    with (
        Process("serve", database_url, tmp_path, **settings) as serve,
        Process("work", database_url, tmp_path, **settings) as work,
        connect(database_url, "tests") as connection,
    ):
        set_prices(serve.url)
        table = Table(connection)
        with Sending(serve.url, made.sent) as sending:
            for moment in sorted(chance.uniform(0.02, 0.95) for _ in range(KILLS)):
                table.wait_for(round(moment * made.different))
                work.kill()
                sleep(chance.uniform(0.0, 0.5))
                work.start()
            sending.join()
        table.wait_for(made.different)
        assert set(table.statuses()) == {"done", "ignored"}
        assert table.settled() == made.different
        wait_until_caught_up(connection)
        assert_as_told(connection, made)
        work.stop()
        serve.stop()
    assert_clean(database_url)


def set_prices(url: str) -> None:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {API_KEY}"}) as http:
        for price in (*PRICES, *PLANS):
            path = f"/v1/prices/{price.provider}/{price.price_id}"
            answer = http.put(path, json={"credits": price.credits, "kind": price.kind})
            assert answer.status_code == httpx.codes.OK, answer.text


def wait_until_caught_up(connection: Connection[Any]) -> None:
    """Return when the read models show all there is."""
    deadline = monotonic() + _QUIET_SECONDS
    while connection.execute(
        "SELECT FROM projections WHERE position < (SELECT max(notification_id) FROM ledger_events)"
    ).fetchall():
        assert monotonic() < deadline, "the read models lag"
        sleep(0.05)


def assert_as_told(connection: Connection[Any], made: Burst) -> None:
    """Each customer has what its stories say, and each payment stands as they say."""
    balances = connection.execute(
        "SELECT customer_id, sum(remaining)::bigint FROM lots GROUP BY customer_id"
    ).fetchall()
    assert {c: n for c, n in balances if n} == {c: n for c, n in made.available.items() if n}
    payments: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for customer_id, status in connection.execute("SELECT customer_id, status FROM payments"):
        payments[customer_id][status] += 1
    assert payments == made.payments


def assert_clean(database_url: str) -> None:
    environment = {**os.environ, "CREDITLEDGER_DATABASE_URL": database_url}
    verified = subprocess.run(
        [COMMAND, "verify"], env=environment, capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
