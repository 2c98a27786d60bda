"""`make bench`: what the service does, as ratios to PostgreSQL itself in the same run.

One machine, one PostgreSQL with fsync on, started for this run alone. Machines differ and are
noisy, so only the ratios say anything; `docs/benchmarks.md` carries one dated run.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.table import Table

import bare
import histories
import in_turns
import load
import service
import webhooks
import yardstick
from creditledger.infra.embedded_postgres import embedded_postgres
from targets import Targets

_CONNECTIONS = (1, 16, 64)

#: How long the yardstick is laid on, before and after each load.
_RULER_SECONDS = 3

#: Commands that may wait in the process that is pressed too hard.
_ROOM = 32

console = Console(width=120)
targets = Targets()


def main() -> None:
    """Run it all, and print a table a topic."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="how long each load runs")
    parser.add_argument(
        "--sustained", type=int, default=60, help="seconds of the two loads that last longer"
    )
    parser.add_argument(
        "--history", type=int, default=1_000_000, help="events of the longest account"
    )
    parser.add_argument("--accounts", type=int, default=1_000_000, help="accounts, for the memory")
    arguments = parser.parse_args()
    load.find_wrk()
    with (
        tempfile.TemporaryDirectory(prefix="creditledger-bench-") as folder,
        embedded_postgres(Path(folder)) as dsn,
    ):
        alone = _yardstick(dsn, arguments.seconds)
        bare.show(console, dsn, seconds=arguments.seconds, ruler_seconds=_RULER_SECONDS)
        with service.running(dsn) as running:
            console.print(f"Filling {yardstick.ACCOUNTS:,} accounts …")
            service.fill(running, yardstick.ACCOUNTS)
            _hold_against(_commands(running, arguments.seconds), alone)
            _sustained(running, arguments.sustained)
            _overload(running, arguments.seconds)
            _reads(running, arguments.seconds)
            # The proof comes before what fills the log with holds, and before the rebuild, whose
            # new tables PostgreSQL goes through by itself for a while.
            whole_log = Table("command", "events", "seconds", "events/s", title="The whole log")
            _whole_log(running, whole_log, 50_000, "verify")
            in_turns.show(console, targets, running)
            _whole_log(running, whole_log, 20_000, "projections", "rebuild")
            console.print(whole_log)
            _memory(running, arguments.accounts, arguments.seconds)
        webhooks.show(console, dsn, ruler_seconds=_RULER_SECONDS)
        _histories(dsn, arguments.history)
    console.print(targets.table())


def _yardstick(dsn: str, seconds: int) -> yardstick.Yardstick:
    """Print what pgbench does with one client and with sixteen; return what it does with one."""
    table = Table("transaction", "clients", "a second", "ms each", title="The yardstick: pgbench")

    def measure(name: str, transaction: str, clients: int) -> yardstick.Yardstick:
        found = yardstick.measure(dsn, clients=clients, seconds=seconds, transaction=transaction)
        row = (str(clients), f"{found.per_second:,.0f}", f"{found.latency_ms:.2f}")
        table.add_row(name, *row)
        return found

    single = measure("event and balance", yardstick.TRANSACTION, 1)
    measure("event and balance", yardstick.TRANSACTION, 16)
    measure("the same in one statement, to compare", yardstick.ONE_STATEMENT, 16)
    console.print(table)
    return single


@dataclass(frozen=True)
class _Found:
    """What one load did, counted in commands, and how much that is of the yardstick's."""

    load: load.Load
    ratio: float


def _commands(running: service.Service, seconds: int) -> dict[tuple[str, int], _Found]:
    """Print what each load does; return it by its name and connections.

    CPU is what `serve` and `work` use for one command: it says something on a busy machine, too.
    """
    table = Table(
        *("load", "conn.", "commands/s", "yardstick", "ratio", "p50 ms", "p99 ms", "CPU, µs"),
        *("lag, most", "level after"),
        title="Commands over HTTP",
    )
    many = str(yardstick.ACCOUNTS)
    # What is held against each other stands side by side.
    cases = [
        ("batches of 100", "batch.lua", 4, (many, "100"), 100),
        ("batches of 1,000", "batch.lua", 4, (many, "1000"), 1_000),
        ("deduct, one account", "deduct.lua", 1, ("1",), 1),
        ("deduct, 10,000 accounts", "deduct.lua", 1, (many,), 1),
        ("deduct, one account", "deduct.lua", 16, ("1",), 1),
        ("deduct, 10,000 accounts", "deduct.lua", 16, (many,), 1),
        ("deduct, one account", "deduct.lua", 64, ("1",), 1),
        ("deduct, 10,000 accounts", "deduct.lua", 64, (many,), 1),
        ("hold and capture, each", "hold_capture.lua", 64, (many, "2"), 1),
        ("hold and capture of half, each", "hold_capture.lua", 64, (many, "1"), 1),
    ]
    loads = {}
    ruler = yardstick.Ruler(running.dsn, seconds=_RULER_SECONDS)
    for name, script, connections, extra, size in cases:
        with ruler.beside() as beside:
            used = running.cpu_seconds()
            with _Lags(running.dsn) as lags:
                found = load.on(running, script, *extra, connections=connections, seconds=seconds)
            if found.failed:
                raise RuntimeError(f"{found.failed} of the {name} were refused")
            caught_up = service.wait_until_caught_up(running.dsn, 120)
            used = running.cpu_seconds() - used
        per_second = found.per_second * size
        ratio = per_second / beside.per_second
        loads[name, connections] = _Found(replace(found, per_second=per_second), ratio)
        table.add_row(
            name,
            str(connections),
            f"{per_second:,.0f}",
            f"{beside.per_second:,.0f}",
            f"{ratio:.2f}",
            f"{found.p50_ms:.1f}",
            f"{found.p99_ms:.1f}",
            f"{used / (per_second * seconds) * 1e6:,.0f}",
            f"{lags.most:,}",
            f"{caught_up:.2f} s",
        )
    console.print(table)
    return loads


def _hold_against(loads: dict[tuple[str, int], _Found], alone: yardstick.Yardstick) -> None:
    """Hold what commands did against what they are meant to do."""
    single = loads["deduct, 10,000 accounts", 64]
    targets.at_least(
        "single deductions, 64 connections, to the yardstick",
        0.30,
        single.ratio,
    )
    targets.at_most(
        "p50 of one connection, ms: three times the yardstick's, and one",
        3 * alone.latency_ms + 1,
        loads["deduct, 10,000 accounts", 1].load.p50_ms,
    )
    targets.at_least(
        "batches of 1,000, 4 connections, to the yardstick",
        1.2,
        loads["batches of 1,000", 4].ratio,
    )
    targets.at_most("p99 to p50 at 64 connections", 10, single.load.p99_ms / single.load.p50_ms)


def _sustained(running: service.Service, seconds: int) -> None:
    """How far the read models are behind when all that can be written has been for a while."""
    table = Table(
        *("load", "conn.", "commands/s", "ratio", "lag, most", "behind at the end", "level after"),
        title=f"Full write load for {seconds} s",
    )
    many = str(yardstick.ACCOUNTS)
    ruler = yardstick.Ruler(running.dsn, seconds=_RULER_SECONDS)
    for name, script, connections, extra, size in (
        ("deduct, 10,000 accounts", "deduct.lua", _CONNECTIONS[-1], (many,), 1),
        ("batches of 1,000", "batch.lua", 4, (many, "1000"), 1_000),
    ):
        with ruler.beside() as beside:
            with _Lags(running.dsn) as lags:
                found = load.on(running, script, *extra, connections=connections, seconds=seconds)
                behind = service.lag_seconds(running.dsn)
            caught_up = service.wait_until_caught_up(running.dsn, 120)
        per_second = found.per_second * size
        targets.at_most(f"s behind at the end, {name}, {seconds} s", 1.0, behind)
        targets.at_most(f"s until level after it, {name}", 2.0, caught_up)
        table.add_row(
            name,
            str(connections),
            f"{per_second:,.0f}",
            f"{per_second / beside.per_second:.2f}",
            f"{lags.most:,}",
            f"{behind:.2f} s",
            f"{caught_up:.2f} s",
        )
    console.print(table)


def _overload(running: service.Service, seconds: int) -> None:
    """Single deductions to a process with little room: as many as fit, and three times as many.

    As many as may wait are in hand besides, so twice the room fits.
    """
    table = Table(
        *("clients", "commands/s", "refused/s", "p50 ms", "p99 ms", "memory, MiB"),
        title=f"Too much: room for {_ROOM}, refused clients come back after a second",
    )
    many = str(yardstick.ACCOUNTS)
    with service.another_api(running, WRITE_QUEUE_LIMIT=str(_ROOM)) as small:
        for connections in (_ROOM, 2 * _ROOM, 6 * _ROOM, _ROOM):
            found = load.on(small, "patient.lua", many, connections=connections, seconds=seconds)
            table.add_row(
                str(connections),
                f"{found.succeeded_per_second:,.0f}",
                f"{found.per_second - found.succeeded_per_second:,.0f}",
                f"{found.p50_ms:.1f}",
                f"{found.p99_ms:.1f}",
                f"{small.memory() / 2**20:,.0f}",
            )
    service.wait_until_caught_up(running.dsn, 120)
    console.print(table)


def _memory(running: service.Service, accounts: int, seconds: int) -> None:
    """What the processes hold when most accounts are idle and 10,000 are at work."""
    console.print(f"Filling {accounts:,} accounts …")
    service.fill(running, accounts, first_account=yardstick.ACCOUNTS)
    many = str(yardstick.ACCOUNTS)
    load.on(running, "deduct.lua", many, connections=_CONNECTIONS[-1], seconds=seconds)
    service.wait_until_caught_up(running.dsn, 120)
    table = Table("accounts", "at work", "MiB", title="Memory of serve and work")
    mebibytes = running.memory() / 2**20
    table.add_row(f"{accounts:,}", f"{int(many):,}", f"{mebibytes:,.0f}")
    targets.at_most(f"MiB of memory with {accounts:,} accounts", 1024, mebibytes)
    console.print(table)


def _reads(running: service.Service, seconds: int) -> None:
    table = Table("read", "connections", "a second", "ratio", "p50 ms", "p99 ms", title="Queries")
    many = str(yardstick.ACCOUNTS)
    ruler = yardstick.Ruler(running.dsn, seconds=_RULER_SECONDS)
    for connections in (1, 64):
        with ruler.beside() as beside:
            found = load.on(running, "balance.lua", many, connections=connections, seconds=seconds)
        if found.failed:
            raise RuntimeError(f"{found.failed} queries failed")
        table.add_row(
            "balance",
            str(connections),
            f"{found.per_second:,.0f}",
            f"{found.per_second / beside.per_second:.2f}",
            f"{found.p50_ms:.1f}",
            f"{found.p99_ms:.1f}",
        )
    targets.at_least(
        "balance queries, 64 connections, to the yardstick",
        0.2,
        found.per_second / beside.per_second,
    )
    console.print(table)


def _whole_log(running: service.Service, table: Table, least: int, *arguments: str) -> None:
    """Add how many events a second a command does that goes through all of them."""
    events, name = service.positions(running.dsn), " ".join(arguments)
    seconds = service.command_seconds(running, *arguments)
    table.add_row(name, f"{events:,}", f"{seconds:.1f}", f"{events / seconds:,.0f}")
    targets.at_least(f"events/s of {name}", least, events / seconds)


def _histories(dsn: str, longest: int) -> None:
    table = Table(
        *("events of the account", "first command, ms", "refund of the first deduction, ms"),
        title="A cold account",
    )
    first = []
    for events in (10, 10_000, longest):
        with console.status(f"Writing an account of {events:,} events …"):
            found = histories.measure(dsn, events, lambda _: None)
        table.add_row(
            f"{events:,}", f"{found.first_command_ms:.1f}", f"{found.refund_of_the_first_ms:.1f}"
        )
        first.append(found.first_command_ms)
    targets.at_most(
        f"ms more for the first command after {longest:,} deductions", 50, first[-1] - first[0]
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
