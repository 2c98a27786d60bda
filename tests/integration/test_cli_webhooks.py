"""`creditledger webhooks` on a database with deliveries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner, Result

from creditledger.api.cli_webhooks import webhooks_app
from creditledger.infra.database import connection_pool
from creditledger.infra.delivery import Delivery, Verdict, read_delivery
from creditledger.infra.postgres_stream import PostgresStream
from provider_bodies import body

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture
def stream(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStream]:
    monkeypatch.setenv("CREDITLEDGER_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")
    with connection_pool(database_url, "tests", size=1) as pool:
        stream = PostgresStream(database_url, pool)
        yield stream
        stream.close()


@pytest.fixture
def parked(stream: PostgresStream) -> Delivery:
    """A delivery that is parked."""
    delivery = read_delivery("stripe", body("stripe.customer.created.linked"), {}, NOW)
    stream.put(delivery)
    with stream.take(1) as [taken]:
        taken.settle(Verdict(status="parked", reason="unsupported_version"))
    return delivery


def run(*arguments: str) -> Result:
    return CliRunner().invoke(webhooks_app, arguments)


def is_due(stream: PostgresStream) -> bool:
    with stream.take(1) as batch:
        return bool(batch)


def test_deliveries_are_listed_and_shown(parked: Delivery) -> None:
    listed = run("list", "--status", "parked")
    assert parked.delivery_id in listed.output
    assert "unsupported_version" in listed.output
    assert parked.delivery_id not in run("list", "--status", "done").output
    shown = json.loads(run("show", parked.delivery_id).output)
    assert shown["provider_delivery_id"] == parked.provider_delivery_id
    assert shown["body"]["type"] == "customer.created"


@pytest.mark.parametrize("how", ["id", "reason"])
def test_a_delivery_is_tried_again(stream: PostgresStream, parked: Delivery, how: str) -> None:
    assert not is_due(stream)
    asked = [parked.delivery_id] if how == "id" else ["--reason", "unsupported_version"]
    assert run("replay", *asked).exit_code == 0
    assert is_due(stream)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "whd_none"], "no delivery whd_none"),
        (["replay", "whd_none"], "no delivery whd_none"),
        (["replay"], "name deliveries, or a reason"),
        (["list", "--status", "lost"], "lost"),
    ],
)
@pytest.mark.usefixtures("stream")
def test_what_cannot_be_done_is_said(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code != 0
    assert said in result.output or said in str(result.exception)
