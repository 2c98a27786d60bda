"""The demo on Apache Kafka, with nothing else started: `make demo KAFKA=1`.

Starts a one-node Kafka as the tests do (kafka_broker.py), and a service of its own on a free port
and a temporary folder; plays the demo; reads the topic of published events as any consumer would,
and compares it with the log. Everything is stopped at the end, also by Ctrl-C.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from kafka import KafkaConsumer, TopicPartition

import demo
from creditledger.api.processes import interrupted_once
from demo_client import Demo
from kafka_artifacts import NoKafka, jars
from kafka_broker import Broker

COMMAND: Final = (sys.executable, "-P", "-m", "creditledger.api")
EVENTS: Final = "creditledger.events"
WEBHOOKS: Final = "creditledger.webhooks"
START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 60.0
#: The publisher is a moment behind the log.
PATIENCE_SECONDS: Final = 30.0


def main() -> int:
    """Start everything, play, and read the topic; 0 where every figure was right."""
    with (
        interrupted_once(),
        TemporaryDirectory(prefix="creditledger-demo-", ignore_cleanup_errors=True) as name,
    ):
        folder = Path(name)
        # PostgreSQL runs as another user where this one is root.
        folder.chmod(0o711)
        with kafka(folder) as address, service(folder, address) as environment:
            os.environ.update(environment)
            chapters = demo.play()
            show_deliveries(chapters, address)
            for chapter in chapters:
                show_events(chapter, address)
            verdict = demo.judged(chapters)
            print("Stopping the service and Kafka …", flush=True)
    return verdict


@contextmanager
def kafka(folder: Path) -> Iterator[str]:
    """The address of a Kafka of one node until the block ends. Raises NoKafka."""
    with _told("Fetching Apache Kafka from Maven Central, unless it was before"):
        jars()
    place = folder / "kafka"
    place.mkdir()
    with _told("Starting Apache Kafka"):
        broker = Broker(place)
        try:
            broker.start()
        except BaseException:
            broker.stop()
            raise
    try:
        yield broker.address
    finally:
        broker.stop()


@contextmanager
def service(folder: Path, kafka_address: str) -> Iterator[Mapping[str, str]]:
    """A service on that Kafka until the block ends: what a client of it needs, as variables."""
    port = _free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("CREDITLEDGER_")},
        "CREDITLEDGER_PORT": str(port),
        "CREDITLEDGER_DATA_DIR": str(folder / "data"),
        "CREDITLEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka_address,
    }
    log = folder / "service.log"
    with log.open("wb") as output:
        # In a session of its own, Ctrl-C reaches it by us alone; no .env is read in that folder.
        process = subprocess.Popen(
            [*COMMAND, "up"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        with _told("Starting the service, with CREDITLEDGER_KAFKA_BOOTSTRAP_SERVERS set to it"):
            _wait_until_ready(process, port, log)
        sandbox = subprocess.run(
            [*COMMAND, "sandbox"], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE
        )
        lines = shlex.split(sandbox.stdout.decode())
        yield dict(line.split("=", 1) for line in lines)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def show_deliveries(chapters: Sequence[Demo], address: str) -> None:
    """How many webhooks went through Kafka: all that were sent."""
    consumer = KafkaConsumer(bootstrap_servers=address)
    try:
        numbers = consumer.partitions_for_topic(WEBHOOKS) or ()
        ends = consumer.end_offsets([TopicPartition(WEBHOOKS, number) for number in numbers])
    finally:
        consumer.close()
    sent = sum(chapter.deliveries for chapter in chapters)
    print(f"Topic {WEBHOOKS}: all that the providers sent")
    chapters[0].check("deliveries on it", sum(ends.values()), sent)
    print()


def show_events(chapter: Demo, address: str) -> None:
    """The events of a customer's account, as they stand on the topic, held against the log."""
    log = chapter.ask("/v1/events", customer_id=chapter.customer, limit=200)["events"]
    found = published(address, key=log[0]["stream"], until=int(log[-1]["position"]))
    print(f"Topic {EVENTS}: what came for {chapter.customer}, by its key\n")
    for partition, event in found:
        print(f"  position {event['position']:>4}  partition {partition:>2}  {event['type']}")
    print()
    told = [(event["id"], int(event["position"])) for _, event in found]
    logged = [(event["event_id"], int(event["position"])) for event in log]
    chapter.check("events of the log on the topic", len(told), len(logged))
    chapter.check("all of them, in the log's order", told == logged, True)
    chapter.check("partitions with them", len({partition for partition, _ in found}), 1)
    print()


def published(address: str, *, key: str, until: int) -> list[tuple[int, dict[str, Any]]]:
    """The CloudEvents of a key up to a position, each once, with their partition."""
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    consumer = KafkaConsumer(
        EVENTS, bootstrap_servers=address, auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        reached = 0
        while reached < until and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    event = json.loads(record.value)
                    if event["partitionkey"] == key:
                        # Published at least once: what comes again says the same.
                        found.setdefault(event["id"], (record.partition, event))
                        reached = int(event["position"])
        return list(found.values())
    finally:
        consumer.close()


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(f"{what} … ", end="", flush=True)
    begun = time.monotonic()
    yield
    print(f"{time.monotonic() - begun:.1f} s", flush=True)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"\nThe service did not start:\n{log.read_text()}")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NoKafka as missing:
        sys.exit(f"\nNo Kafka can be had here: {missing}")
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
