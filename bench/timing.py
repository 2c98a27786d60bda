"""What measurements of growth share: a ledger on a database of its own, and medians."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, Connection, Cursor, sql

from creditledger.domain.commands import Command
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import ACCEPTED, Receipt, Wish
from creditledger.infra.database import Pool, connect, connection_pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.migrate import migrate
from creditledger.projections import checkpoints
from creditledger.projections.catalogue import PROJECTIONS
from creditledger.projections.projection import Projection
from creditledger.projections.runner import advance, prepare

Query = Callable[[AsyncConnection[Any]], Awaitable[Any]]

#: How often each thing is measured; the median counts.
_TIMES: Final = 15


@dataclass
class Grid:
    """Medians in milliseconds (or what `unit` says), one line for each thing, by size."""

    title: str
    sizes: Sequence[int]
    unit: str = "ms"
    lines: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """The next size's figure of a line."""
        self.lines.setdefault(name, []).append(value)

    def markdown(self) -> str:
        """The table, with how much larger the last figure is than the first."""
        heads = [self.title, *(f"{size:,}" for size in self.sizes), "last ÷ first"]
        rows = [heads, ["---", *["---:"] * (len(self.sizes) + 1)]]
        for name, values in self.lines.items():
            shown = [f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in values]
            label = name if self.unit == "ms" else f"{name}, {self.unit}"
            rows.append([label, *shown, f"{values[-1] / values[0]:.1f}"])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@dataclass
class Place:
    """A migrated database, and what works on it; `ledger` is one that has been at work."""

    url: str
    pool: Pool
    log: EventLog
    store: PostgresLedgerStore
    ledger: Ledger
    #: What the ledger's clock tells, all the time.
    now: datetime

    def fresh_ledger(self) -> Ledger:
        """A ledger that has just started and has nothing in memory."""
        return Ledger(self.store, now=lambda: self.now)

    def tell(self, *commands: Command, ledger: Ledger | None = None) -> list[Receipt]:
        """Let these be decided together; raises RuntimeError where one is not accepted."""
        told = []
        for outcome in (ledger or self.ledger).handle([_wish(command) for command in commands]):
            if not isinstance(outcome, Receipt) or outcome.outcome != ACCEPTED:
                raise RuntimeError(f"a command was told {outcome}")
            told.append(outcome)
        return told

    def first_command(self, command: Command) -> None:
        """A command to a ledger that has just started."""
        self.tell(command, ledger=self.fresh_ledger())

    def catch_up(self) -> None:
        """Let all read models handle all that the log holds."""
        with connect(self.url, "bench") as connection:
            prepare(connection)
            for projection in PROJECTIONS:
                _catch_up(connection, projection, self.log)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """One statement, as it stands."""
        with self.pool.connection() as connection:
            connection.execute(statement.encode(), values)

    def query_ms(self, query: Query) -> float:
        """How long a query of a read model takes, on a connection that is open."""

        async def measured() -> float:
            async with await AsyncConnection.connect(self.url, autocommit=True) as connection:
                times = []
                for _ in range(_TIMES):
                    began = time.perf_counter()
                    await query(connection)
                    times.append(time.perf_counter() - began)
            return statistics.median(times) * 1_000

        return asyncio.run(measured())


@contextmanager
def place(server: str, *, now: datetime | None = None) -> Iterator[Place]:
    """A database of its own for one series of measurements."""
    name = f"growth_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = server.replace("/postgres?", f"/{name}?")
    migrate(url)
    with connection_pool(url, "bench", size=4) as pool:
        pool.wait()
        store = PostgresLedgerStore(pool)
        moment = now or datetime.now(UTC)
        ledger = Ledger(store, now=lambda: moment)
        yield Place(url, pool, EventLog(pool), store, ledger, moment)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def median_ms(action: Callable[[], object], *, times: int = _TIMES) -> float:
    """How long something takes that can be done again and again."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1_000


def _wish(command: Command) -> Wish:
    key = uuid.uuid4()
    return Wish(
        command=command,
        actor="client:bench",
        client_id="bench",
        key=str(key),
        fingerprint=key.bytes,
    )


def _catch_up(connection: Connection[Any], projection: Projection, log: EventLog) -> None:
    position = checkpoints.enlist(connection, projection).position
    claim = partial(_claim, projection)
    while (reached := advance(connection, projection, log, claim, after=position)) != position:
        position = reached


def _claim(projection: Projection, cursor: Cursor[Any], after: int, to: int) -> bool:
    return bool(checkpoints.claim(cursor, [projection], after=after, to=to))
