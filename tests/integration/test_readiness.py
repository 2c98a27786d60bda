"""Whether the service is ready is told within a second, though no broker answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from api_server import Api, running_api
from webhook_desk import eventually

#: Probes give up after this long.
PROBE_SECONDS = 1.0


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that is taken, where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def ready(api: Api) -> dict[str, Any]:
    began = monotonic()
    response = api.http.get("/readyz")
    assert monotonic() - began < PROBE_SECONDS
    assert response.status_code == 200
    return dict(response.json())


def test_without_a_broker_the_service_says_soon_that_it_is_degraded_and_why(
    database_url: str, nobody: str
) -> None:
    with running_api(database_url, read_side=False, kafka_bootstrap_servers=nobody) as api:
        for _ in range(3):
            told = ready(api)
            assert (told["status"], told["webhooks"]["waiting"]) == ("degraded", None)
        eventually(lambda: "Kafka cannot be used" in ready(api)["webhooks"]["stream"])
        began = monotonic()
        assert "creditledger_deliveries_waiting 0" not in api.http.get("/metrics").text
        assert monotonic() - began < PROBE_SECONDS
