"""A real Apache Kafka for tests: one KRaft node on ports and in a folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals
from time import monotonic, sleep
from typing import Any, Final

import pytest

from creditledger.infra.settings import Settings
from kafka_artifacts import NoKafka, jars, java
from quick_folder import quick_folder

#: Set it to make of a skip a failure.
REQUIRED: Final = "CREDITLEDGER_TEST_REQUIRE_KAFKA"

#: A broker of your own, `host:port`, that is there for tests.
GIVEN: Final = "CREDITLEDGER_TEST_KAFKA"

#: How each skip begins.
SKIPPED: Final = "NOT TESTED ON KAFKA"

_START_SECONDS_MAX: Final = 60.0
_STOP_SECONDS_MAX: Final = 20.0

_PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENT://127.0.0.1:{port}
inter.broker.listener.name=CLIENT
listener.security.protocol.map=CLIENT:{protocol},CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=1000
"""

_JAVA: Final = ("-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_QUIET: Final = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


class Broker:
    """A broker that can be stopped and started again; what it has stays.

    `protocol` and `properties` say how its clients have to speak to it, `scram` who they are:
    arguments of the storage tool.
    """

    def __init__(
        self,
        folder: Path,
        *,
        protocol: str = "PLAINTEXT",
        properties: Mapping[str, str] | None = None,
        scram: str | None = None,
    ) -> None:
        self._folder = folder
        self._java = [java(), *_JAVA, _QUIET, "-cp", f"{jars()}/*"]
        self._configuration = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        port, controller_port = _free_ports(2)
        self.address = f"127.0.0.1:{port}"
        lines = [f"{name}={value}" for name, value in (properties or {}).items()]
        self._configuration.write_text(
            _PROPERTIES.format(
                port=port, controller_port=controller_port, protocol=protocol, folder=folder
            )
            + "\n".join(lines)
        )
        self._format(scram)

    def start(self) -> None:
        """Start it, and return when it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = monotonic() + _START_SECONDS_MAX
        while not self._answers():
            if self._process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start:\n{self._log()[-4000:]}")
            sleep(0.05)

    def stop(self) -> None:
        """Pull the plug: what was acknowledged is there when it starts again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_SECONDS_MAX)
            self._process = None

    def signal(self, by: Signals) -> None:
        """Freeze it, or let it go on."""
        assert self._process is not None
        self._process.send_signal(by)

    def _format(self, scram: str | None) -> None:
        command = [*self._java, "kafka.tools.StorageTool", "format", "-c"]
        command += [str(self._configuration), "-t", "MkU3OEVBNTcwNTJENDM2Qg"]
        if scram is not None:
            command += ["--add-scram", scram]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _answers(self) -> bool:
        host, _, port = self.address.partition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), 1):
            return True
        return False

    def _log(self) -> str:
        return (self._folder / "log").read_text()


@contextmanager
def running_broker(**options: Any) -> Iterator[Broker]:
    """A broker of its own for the block; skips the test where there is none to be had."""
    with quick_folder("creditledger-kafka-") as folder:
        try:
            broker = Broker(folder, **options)
        except NoKafka as reason:
            without_kafka(str(reason))
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


@contextmanager
def some_broker() -> Iterator[str]:
    """The address of the given broker, or of one of our own."""
    if given := os.environ.get(GIVEN):
        yield given
        return
    with running_broker() as broker:
        yield broker.address


def without_kafka(reason: str) -> None:
    """Skip loudly, or fail where Kafka is required."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{SKIPPED}: {reason}")
    pytest.skip(f"{SKIPPED}: {reason}")


def kafka_settings(address: str, **others: Any) -> Settings:
    """Settings with topics and a group that no other test knows."""
    name = f"test-{uuid.uuid4().hex}"
    values = {
        "kafka_bootstrap_servers": address,
        "kafka_webhooks_topic": name,
        "kafka_webhooks_group": name,
        "kafka_webhooks_partitions": 3,
        **others,
    }
    return Settings(**values)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [int(free.getsockname()[1]) for free in sockets]
    finally:
        for free in sockets:
            free.close()
