"""`make torture`: everything at once, while everything is killed.

Clients and a provider press on two API processes and a worker; those, PostgreSQL and Kafka are
killed, frozen and cut off at random. At the end all that was told and seen is held against the log.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random, SystemRandom

from creditledger.infra.database import connect
from kafka_artifacts import NoKafka
from kafka_broker import Broker
from mixed_load import Client
from mixed_proof import Proof, summary
from mixed_webhooks import SECRET, Provider
from processes import COMMAND, Process
from victims import Kafka, Postgres, Tormentor, Victim

_CLIENTS = 8
_CUSTOMERS = [f"tortured-{number}" for number in range(4)]

_LAGS = """
    SELECT name, position, status FROM projections
     WHERE position < (SELECT max(notification_id) FROM ledger_events)
"""

#: Past this, what was delivered should have been booked, and the read models be there.
_CATCH_UP_SECONDS = 60.0


def torture(seconds: float, folder: Path, seed: int) -> str:
    """Press and kill for so long; returns what was done, or raises what was not as promised.

    The seed draws what is sent and killed; when, the machine decides.
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(folder / "data"))
        kafka = stack.enter_context(_kafka(folder))
        settings = {"STRIPE_WEBHOOK_SECRETS": SECRET}
        if kafka is not None:
            settings["KAFKA_BOOTSTRAP_SERVERS"] = kafka.address
        apis = [
            stack.enter_context(Process("serve", postgres.url, folder, **settings))
            for _ in range(2)
        ]
        worker = stack.enter_context(Process("work", postgres.url, folder, **settings))
        victims: dict[str, Victim] = {"PostgreSQL": postgres}
        if kafka is not None:
            victims["Kafka"] = Kafka(kafka)
        victims |= {"API 1": apis[0], "API 2": apis[1], "worker": worker}
        tormentor = Tormentor(Random(seed), postgres, victims)
        urls = [api.url for api in apis]
        clients = [Client(number, seed, urls, _CUSTOMERS) for number in range(_CLIENTS)]
        provider = Provider(seed, urls)
        provider.enter_price()
        with _pressing(clients, provider):
            tormentor.torment(time.monotonic() + seconds)
            print(f"{len(tormentor.deeds)} harms: {', '.join(tormentor.deeds)}", flush=True)
        told = _prove(postgres.url, clients, provider, seconds)
        on = "PostgreSQL alone" if kafka is None else "PostgreSQL and Kafka"
        return f"On {on}, seed {seed}: {told}"


@contextmanager
def _kafka(folder: Path) -> Iterator[Broker | None]:
    """A broker, where one is to be had."""
    place = folder / "kafka"
    place.mkdir()
    try:
        broker = Broker(place)
    except NoKafka as reason:
        print(f"NOT TORTURED: Kafka, because {reason}", file=sys.stderr)
        yield None
        return
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@contextmanager
def _pressing(clients: list[Client], provider: Provider) -> Iterator[None]:
    """Press until the block ends; a thread that fails fails all of it."""
    stop = threading.Event()
    faults: list[BaseException] = []

    def guarded(press: Client | Provider) -> None:
        try:
            press.press(stop)
        except BaseException as fault:  # noqa: BLE001 - raised again below
            faults.append(fault)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in (*clients, provider)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]


def _prove(database_url: str, clients: list[Client], provider: Provider, seconds: float) -> str:
    commands = [command for client in clients for command in client.commands]
    reads = [read for client in clients for read in client.reads]
    told = summary(commands, reads, seconds)
    Proof(database_url).once_or_never(commands)
    for client in clients:
        client.settle()
    proof = Proof(database_url)
    proof.once_or_never(commands)
    proof.in_real_time(commands, reads)
    provider.assert_booked(database_url, within_seconds=_CATCH_UP_SECONDS)
    _verify(database_url)
    return f"{told}; {provider.delivered} webhooks"


def _verify(database_url: str) -> None:
    """The read models come to the end of the log, and `creditledger verify` is content."""
    deadline = time.monotonic() + _CATCH_UP_SECONDS
    with connect(database_url, "tests") as connection:
        while lags := connection.execute(_LAGS).fetchall():
            assert time.monotonic() < deadline, lags
            time.sleep(0.2)
    environment = {**os.environ, "CREDITLEDGER_DATABASE_URL": database_url}
    verified = subprocess.run(
        [COMMAND, "verify"], env=environment, capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def main() -> int:
    """Torture for as long as the command line says; the exit code tells whether all went well."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0, help="how long to kill")
    options.add_argument("--seed", type=int, help="draws what is sent and killed; any, if not set")
    chosen = options.parse_args()
    seed = SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    folder = Path(tempfile.mkdtemp(prefix="creditledger-torture-"))
    print(f"Torturing in {folder} for {chosen.minutes:g} minutes with seed {seed} …", flush=True)
    print(torture(60 * chosen.minutes, folder, seed))
    # Kept where something was not as promised: the logs say what happened.
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
