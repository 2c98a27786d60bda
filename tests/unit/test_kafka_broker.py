"""Tests that need Kafka say so where there is none, and fail where it is required."""

from __future__ import annotations

import pytest

import kafka_artifacts
from kafka_broker import REQUIRED, SKIPPED, running_broker


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_artifacts, "JAVA_OLDEST", 1_000)


@pytest.mark.usefixtures("no_java")
def test_without_a_java_tests_are_skipped_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{SKIPPED}: no Java 1000"), running_broker():
        pass


@pytest.mark.usefixtures("no_java")
def test_where_kafka_is_required_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{SKIPPED}: no Java 1000"), running_broker():
        pass


def test_every_artifact_is_known_by_its_bytes() -> None:
    wanted = kafka_artifacts.artifacts()
    names = [f"{artifact.group}:{artifact.name}:{artifact.version}" for artifact in wanted]
    assert "org.apache.kafka:kafka_2.13:4.3.1" in names
    assert all(len(artifact.sha256) == 64 for artifact in wanted)
    [kafka] = [artifact for artifact in wanted if artifact.name == "kafka_2.13"]
    assert kafka.path == "org/apache/kafka/kafka_2.13/4.3.1/kafka_2.13-4.3.1.jar"
