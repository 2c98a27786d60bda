"""Clients of Kafka that find no broker leave nothing open."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaTimeoutError

from creditledger.infra.kafka_sockets import opened


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where every connection is refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize("client", [KafkaAdminClient, KafkaProducer, KafkaConsumer])
def test_a_client_that_finds_no_broker_closes_all_it_has_opened(
    client: Callable[..., Any], nobody: str
) -> None:
    before = os.listdir("/dev/fd")
    with pytest.raises(KafkaTimeoutError):
        opened(
            client,
            bootstrap_servers=nobody,
            bootstrap_timeout_ms=600,
            reconnect_backoff_max_ms=100,
        )
    assert len(os.listdir("/dev/fd")) <= len(before)
