"""The edge on Kafka: 202 when a delivery is durable, 503 soon when it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from creditledger.infra import kafka_connection, kafka_producer
from creditledger.infra.settings import Settings
from kafka_broker import kafka_settings, running_broker
from provider_bodies import changed
from webhook_caller import Caller, assert_problem, calling
from webhook_desk import ORDER, PARTIAL_CHARGE, SESSION, eventually

#: How long a provider waits for an answer where no broker is to be had.
ANSWER_SECONDS_MAX = 3.5

#: How much this process may grow while it refuses many times as much.
GROWTH_BYTES_MAX = 24 * 1024 * 1024


def said(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(exclude_defaults=True)


@pytest.fixture
def working(database_url: str, kafka: str) -> Iterator[Caller]:
    """The API with everything behind it, on Kafka."""
    with calling(database_url, working=True, **said(kafka_settings(kafka))) as caller:
        yield caller


def test_money_becomes_credits_by_way_of_kafka(working: Caller) -> None:
    working.set_price()
    for name in (PARTIAL_CHARGE, SESSION, SESSION):
        assert working.stripe(name).status_code == 202
    assert working.polar(ORDER).status_code == 202
    eventually(lambda: working.available() == 450 + 600)
    eventually(lambda: len(working.deliveries(status="done")) == 3)


def test_what_failed_or_waits_is_seen_and_replayed_through_the_same_door(working: Caller) -> None:
    strange = changed(SESSION, {"id": "evt_strange", "api_version": "1999-01-01"})
    delivery_id = working.stripe(SESSION).json()["delivery_id"]
    working.stripe(strange)
    eventually(lambda: len(working.deliveries(status="parked")) == 2)
    [row] = working.deliveries(reason="unknown_price")
    assert row["delivery_id"] == delivery_id
    figures = working.ask("GET", "/metrics").text
    for reason in ("unknown_price", "unsupported_version"):
        assert f'creditledger_deliveries{{reason="{reason}",status="parked"}} 1.0' in figures
    working.ask("POST", f"/v1/webhooks/{delivery_id}/replay")
    eventually(lambda: working.deliveries(reason="unknown_price")[0]["tries"] == 2)
    working.set_price()
    eventually(lambda: working.available() == 600)
    eventually(lambda: 'reason="unknown_price"' not in working.ask("GET", "/metrics").text)
    assert working.get(f"/v1/webhooks/{delivery_id}")["trace"] is None


def test_what_was_answered_202_is_on_the_topic(database_url: str, kafka: str) -> None:
    with calling(database_url, working=False, **said(kafka_settings(kafka))) as caller:
        for n in range(5):
            assert caller.stripe(changed(SESSION, {"id": f"evt_{n}"})).status_code == 202
            readiness = caller.get("/readyz")["webhooks"]
            assert (readiness["stream"], readiness["waiting"]) == ("ok", n + 1)
        assert "creditledger_deliveries_waiting 5.0" in caller.ask("GET", "/metrics").text
        assert caller.deliveries() == []


@pytest.mark.alone
def test_without_a_broker_the_answer_is_503_soon_and_nothing_is_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_broker() as broker:
        settings = kafka_settings(broker.address)
        with calling(database_url, working=True, **said(settings)) as caller:
            caller.set_price()
            assert caller.stripe(SESSION).status_code == 202
            eventually(lambda: caller.available() == 600)
            broker.stop()
            assert_refused_within(caller, ANSWER_SECONDS_MAX)
            before = resident_bytes()
            large = [changed(ORDER, note=f"{n:>400000}") for n in range(200)]
            size = sum(map(len, large))
            assert size > 3 * GROWTH_BYTES_MAX
            # How soon it is refused was shown above; this is about what is left of it.
            with monkeypatch.context() as patch, ThreadPoolExecutor(16) as threads:
                for module in (kafka_connection, kafka_producer):
                    patch.setattr(module, "REACH_SECONDS_MAX", 0.5)
                answers = list(threads.map(caller.polar, large))
            assert {answer.status_code for answer in answers} == {503}
            assert resident_bytes() - before - size < GROWTH_BYTES_MAX
            assert caller.get("/readyz")["status"] == "degraded"
            assert caller.get("/v1/prices?provider=stripe")["prices"]
            broker.start()
            eventually(lambda: caller.polar(ORDER).status_code == 202)
            eventually(lambda: caller.available() == 1200)
            eventually(lambda: caller.get("/readyz")["status"] == "ready")


@pytest.mark.alone
def test_a_service_that_starts_without_a_broker_takes_webhooks_when_there_is_one(
    database_url: str,
) -> None:
    with running_broker() as broker:
        broker.stop()
        settings = kafka_settings(broker.address)
        with calling(database_url, working=True, **said(settings)) as caller:
            caller.set_price()
            assert_refused_within(caller, ANSWER_SECONDS_MAX)
            broker.start()
            eventually(lambda: caller.stripe(SESSION).status_code == 202)
            eventually(lambda: caller.available() == 600)


def assert_refused_within(caller: Caller, seconds: float) -> None:
    for name in (SESSION, PARTIAL_CHARGE):
        began = monotonic()
        assert_problem(caller.stripe(name), 503, "unavailable")
        assert monotonic() - began < seconds


def resident_bytes() -> int:
    """How much memory this process has."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096
