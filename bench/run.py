"""`make bench`: what the service does, as ratios to PostgreSQL itself in the same run.

One machine, one PostgreSQL with fsync on, started for this run alone. Machines differ and are
noisy, so only the ratios say anything; `docs/benchmarks.md` carries one dated run.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.table import Table

import histories
import load
import service
import yardstick
from creditledger.infra.embedded_postgres import embedded_postgres

_CONNECTIONS = (1, 16, 64)

console = Console(width=100)


def main() -> None:
    """Run it all, and print a table a topic."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="how long each load runs")
    parser.add_argument(
        "--history", type=int, default=1_000_000, help="events of the longest account"
    )
    arguments = parser.parse_args()
    load.find_wrk()
    with (
        tempfile.TemporaryDirectory(prefix="creditledger-bench-") as folder,
        embedded_postgres(Path(folder)) as dsn,
    ):
        measure = _yardstick(dsn, arguments.seconds)
        with service.running(dsn) as running:
            console.print(f"Filling {yardstick.ACCOUNTS:,} accounts …")
            service.fill(running, yardstick.ACCOUNTS)
            _commands(running, measure, arguments.seconds)
            _reads(running, measure, arguments.seconds)
            _whole_log(running)
        _histories(dsn, arguments.history)


def _yardstick(dsn: str, seconds: int) -> yardstick.Yardstick:
    single = yardstick.measure(dsn, clients=1, seconds=seconds)
    many = yardstick.measure(dsn, clients=16, seconds=seconds)
    table = Table("clients", "a second", "ms each", title="The yardstick: pgbench")
    for clients, found in ((1, single), (16, many)):
        table.add_row(str(clients), f"{found.per_second:,.0f}", f"{found.latency_ms:.2f}")
    console.print(table)
    return many


def _commands(running: service.Service, measure: yardstick.Yardstick, seconds: int) -> None:
    table = Table(
        *(
            "load",
            "connections",
            "commands/s",
            "ratio",
            "p50 ms",
            "p99 ms",
            "lag, most",
            "caught up",
        ),
        title="Commands over HTTP",
    )
    many = str(yardstick.ACCOUNTS)
    cases = [
        *(("deduct, 10,000 accounts", "deduct.lua", n, (many,), 1) for n in _CONNECTIONS),
        *(("deduct, one account", "deduct.lua", n, ("1",), 1) for n in _CONNECTIONS),
        ("batches of 100", "batch.lua", 4, (many, "100"), 100),
        ("batches of 1,000", "batch.lua", 4, (many, "1000"), 1_000),
        ("hold and capture, each", "hold_capture.lua", 64, (many,), 1),
    ]
    for name, script, connections, extra, size in cases:
        lags = _Lags(running.dsn)
        with lags:
            found = load.run(
                script,
                running.url,
                *(running.api_key, uuid.uuid4().hex, *extra),
                connections=connections,
                seconds=seconds,
            )
        if found.failed:
            raise RuntimeError(f"{found.failed} of the {name} were refused")
        caught_up = service.wait_until_caught_up(running.dsn, 120)
        table.add_row(
            name,
            str(connections),
            f"{found.per_second * size:,.0f}",
            f"{found.per_second * size / measure.per_second:.2f}",
            f"{found.p50_ms:.1f}",
            f"{found.p99_ms:.1f}",
            f"{lags.most:,}",
            f"{caught_up:.2f} s",
        )
    console.print(table)


def _reads(running: service.Service, measure: yardstick.Yardstick, seconds: int) -> None:
    table = Table("read", "connections", "a second", "ratio", "p50 ms", "p99 ms", title="Queries")
    for connections in (1, 64):
        found = load.run(
            "balance.lua",
            running.url,
            *(running.api_key, "read", str(yardstick.ACCOUNTS)),
            connections=connections,
            seconds=seconds,
        )
        if found.failed:
            raise RuntimeError(f"{found.failed} queries failed")
        table.add_row(
            "balance",
            str(connections),
            f"{found.per_second:,.0f}",
            f"{found.per_second / measure.per_second:.2f}",
            f"{found.p50_ms:.1f}",
            f"{found.p99_ms:.1f}",
        )
    console.print(table)


def _whole_log(running: service.Service) -> None:
    events = service.positions(running.dsn)
    table = Table("command", "events", "seconds", "events/s", title="The whole log")
    for arguments in (("projections", "rebuild"), ("verify",)):
        seconds = service.command_seconds(running, *arguments)
        row = (f"{events:,}", f"{seconds:.1f}", f"{events / seconds:,.0f}")
        table.add_row(" ".join(arguments), *row)
    console.print(table)


def _histories(dsn: str, longest: int) -> None:
    table = Table(
        *("events of the account", "first command, ms", "refund of the first deduction, ms"),
        title="A cold account",
    )
    for events in (10, 10_000, longest):
        with console.status(f"Writing an account of {events:,} events …"):
            found = histories.measure(dsn, events, lambda _: None)
        table.add_row(
            f"{events:,}", f"{found.first_command_ms:.1f}", f"{found.refund_of_the_first_ms:.1f}"
        )
    console.print(table)


class _Lags:
    """Watches, beside a load, how far the slowest projection falls behind."""

    def __init__(self, dsn: str) -> None:
        self.most = 0
        self._dsn = dsn
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.25):
            self.most = max(self.most, service.lag(self._dsn))


if __name__ == "__main__":
    started = time.monotonic()
    main()
    console.print(f"Done in {time.monotonic() - started:.0f} s.")
