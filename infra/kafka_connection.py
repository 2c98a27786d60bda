"""How Apache Kafka is reached, and the topics that have to be there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.admin import OffsetSpec
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    RetriableError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.structs import TopicPartition

from creditledger.domain.store import Unavailable
from creditledger.infra.kafka_sockets import opened
from creditledger.infra.settings import PREFIX, InvalidSettings, Settings

#: How long a broker that does not answer is waited for: callers have a provider waiting.
REACH_SECONDS_MAX: Final = 2.5

#: How long creating a topic may take.
_CREATE_SECONDS_MAX: Final = 15.0


_COORDINATOR_SECONDS: Final = 0.1

_NO_COORDINATOR_YET: Final = (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    NotCoordinatorError,
)


# It tells of each of its own attempts as an error; what comes of them is raised, and told once.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


class NoTopic(Exception):
    """A topic is missing and could not be created, or is not what it has to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic that has to be there; what more is said of it counts where it is created."""

    name: str
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict)


def client_options(settings: Settings) -> dict[str, Any]:
    """What every client of kafka-python (producer, consumer, admin) is given to reach the brokers.

    Raises InvalidSettings where a login is asked for and not said, and AssertionError where no
    Kafka is set.
    """
    assert settings.kafka_bootstrap_servers is not None
    options: dict[str, Any] = {
        "bootstrap_servers": [
            server.strip() for server in settings.kafka_bootstrap_servers.split(",")
        ],
        "client_id": "creditledger",
        "security_protocol": settings.kafka_security_protocol,
        "bootstrap_timeout_ms": _milliseconds(REACH_SECONDS_MAX),
        # A broker that comes back is noticed soon.
        "reconnect_backoff_max_ms": 1_000,
    }
    if "SSL" in settings.kafka_security_protocol.split("_"):
        key_password = settings.kafka_ssl_key_password
        options |= {
            "ssl_cafile": _text(settings.kafka_ssl_ca_file),
            "ssl_certfile": _text(settings.kafka_ssl_cert_file),
            "ssl_keyfile": _text(settings.kafka_ssl_key_file),
            "ssl_password": None if key_password is None else key_password.get_secret_value(),
        }
    if settings.kafka_security_protocol.startswith("SASL_"):
        options |= _login(settings)
    return options


def _login(settings: Settings) -> dict[str, Any]:
    said = {
        "KAFKA_SASL_MECHANISM": settings.kafka_sasl_mechanism,
        "KAFKA_SASL_USERNAME": settings.kafka_sasl_username,
        "KAFKA_SASL_PASSWORD": settings.kafka_sasl_password,
    }
    if missing := [PREFIX + name for name, value in said.items() if value is None]:
        raise InvalidSettings(
            f"{PREFIX}KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}"
            f" needs {', '.join(missing)}"
        )
    assert settings.kafka_sasl_password is not None
    return {
        "sasl_mechanism": settings.kafka_sasl_mechanism,
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
    }


def require_topics(settings: Settings, *topics: Topic) -> None:
    """See to it that topics are there: create what is missing, where that is allowed.

    Raises NoTopic, which says what to do, and Unavailable where no broker can be reached.
    """
    with administrating(settings) as admin:
        found = admin.describe_topics([topic.name for topic in topics])
        errors = {topic["name"]: for_code(topic["error_code"]) for topic in found}
        missing = []
        for topic in topics:
            error = errors[topic.name]
            if error is UnknownTopicOrPartitionError:
                missing.append(topic)
            elif error is TopicAuthorizationFailedError:
                raise NoTopic(f"the Kafka topic {topic.name} is there, but not for this user")
            elif error.retriable:
                raise Unavailable(f"the Kafka topic {topic.name} is not ready: {error.__name__}")
        for topic in missing:
            _create(settings, admin, topic)


def _create(settings: Settings, admin: KafkaAdminClient, topic: Topic) -> None:
    if not settings.kafka_create_topics:
        raise NoTopic(
            f"the Kafka topic {topic.name} is missing: create it, or set"
            f" {PREFIX}KAFKA_CREATE_TOPICS=true"
        )
    try:
        admin.create_topics(
            {
                topic.name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": settings.kafka_replication or -1,
                    "configs": dict(topic.configs) | _safety(settings.kafka_replication),
                }
            },
            timeout_ms=_milliseconds(_CREATE_SECONDS_MAX),
            wait_for_metadata=True,
        )
    except TopicAlreadyExistsError:
        return  # Another process was faster.
    except RetriableError:
        raise
    except KafkaError as error:
        raise NoTopic(
            f"the Kafka topic {topic.name} is missing and could not be created ({error});"
            f" create it, or see {PREFIX}KAFKA_REPLICATION"
        ) from None


def _safety(replication: int | None) -> dict[str, str]:
    """What is acknowledged stands on two brokers, where there are enough for one to be away."""
    return {} if replication is None or replication < 3 else {"min.insync.replicas": "2"}


def lag(settings: Settings, topic: str, group: str) -> int:
    """How many records of a topic a consumer group has yet to handle. Raises Unavailable."""
    with administrating(settings) as admin:
        [found] = admin.describe_topics([topic])
        partitions = [
            TopicPartition(topic, part["partition_index"]) for part in found["partitions"]
        ]
        ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        starts = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
        committed = _committed(admin, group, partitions)
    reached = {
        partition: max(committed.get(partition, 0), starts[partition].offset)
        for partition in partitions
    }
    return sum(max(0, ends[partition].offset - reached[partition]) for partition in partitions)


def _committed(
    admin: KafkaAdminClient, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    deadline = monotonic() + REACH_SECONDS_MAX
    while True:
        try:
            offsets = admin.list_group_offsets({group: list(partitions)})[group]
        except _NO_COORDINATOR_YET:
            # The first question after any group on a new cluster is asked a little too early.
            if monotonic() > deadline:
                raise
            sleep(_COORDINATOR_SECONDS)
        else:
            return {partition: offset.offset for partition, offset in offsets.items()}


@contextmanager
def administrating(settings: Settings) -> Iterator[KafkaAdminClient]:
    """A client that looks after topics and groups. Raises Unavailable."""
    with reaching_kafka():
        admin = opened(
            KafkaAdminClient,
            **client_options(settings),
            request_timeout_ms=_milliseconds(_CREATE_SECONDS_MAX),
        )
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def reaching_kafka() -> Iterator[None]:
    """What goes wrong with the brokers in the block is raised as Unavailable."""
    try:
        yield
    except KafkaError as error:
        raise Unavailable(f"Kafka cannot be used: {error}") from error


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1_000)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
