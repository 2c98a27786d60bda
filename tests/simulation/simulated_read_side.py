"""The log in a real PostgreSQL, and the read models that follow it through crashes.

Nothing is suspended inside a transaction, so the order of what happens still follows from the seed
alone. A crash before the commit is an error before it; one after it is an answer that is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from unittest.mock import patch

from psycopg import Connection, Cursor, sql

from creditledger.domain.store import Unavailable
from creditledger.infra.database import Pool, connect, connection_pool
from creditledger.infra.event_log import EventLog, Page
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.proof import verify_ledger
from creditledger.projections import checkpoints
from creditledger.projections.catalogue import PROJECTIONS
from creditledger.projections.projection import Projection, Recorded
from creditledger.projections.runner import Convoy
from scheduler import Scheduler

_NAME = "creditledger simulation"

#: The longest that projections rest between two batches, and without news.
_LOOK_SECONDS_MAX = 2.0
_IDLE_SECONDS_MAX = 15.0

#: Events that one transaction handles, at most: few, so that there are many transactions.
_PAGE = 30

_TABLES = """
    SELECT tablename FROM pg_tables
    WHERE schemaname = current_schema() AND tablename <> 'migrations'
"""


class ReadSide:
    """A migrated database, emptied for each seed, and what runs on it."""

    def __init__(self, url: str, connection: Connection[Any], pool: Pool) -> None:
        self._url = url
        self._connection = connection
        self._store = PostgresLedgerStore(pool)
        self._log = EventLog(pool)

    @classmethod
    @contextmanager
    def on(cls, url: str) -> Iterator[ReadSide]:
        """On a migrated database that may be emptied."""
        with connection_pool(url, _NAME, size=2) as pool, connect(url, _NAME) as connection:
            yield cls(url, connection, pool)

    def begin(self) -> PostgresLedgerStore:
        """Empty everything; return the way to the log."""
        names = [name for (name,) in self._connection.execute(_TABLES)]
        tables = sql.SQL(", ").join(sql.Identifier(name) for name in names)
        with self._connection.transaction():
            # The log refuses to be emptied, by triggers.
            self._connection.execute("SET LOCAL session_replication_role = replica")
            self._connection.execute(sql.SQL("TRUNCATE {}").format(tables))
        return self._store

    def follow(
        self, scheduler: Scheduler, head: Callable[[], int], fault_rate: Callable[[], int]
    ) -> None:
        """Keep the read models up to date until the process is killed, whatever fails on the way.

        `head` tells the newest position, `fault_rate` how often something fails, of a thousand
        times. Nobody leads: two processes that both believe they do must do no harm.
        """
        chance = scheduler.chance
        log = _ShortPages(self._log, scheduler)
        while True:
            positions = self._positions()
            convoy = Convoy(self._connection, log, dict(positions))
            while not convoy.disturbed:
                scheduler.sleep(chance.uniform(0, _LOOK_SECONDS_MAX))
                fault = None
                if chance.randrange(1000) < fault_rate():
                    fault = chance.choice(("crash", "error", "lost"))
                    scheduler.note(f"a fault of the projections: {fault}")
                try:
                    with _failing(chance.choice(PROJECTIONS), fault):
                        handled = convoy.go_on()
                except Unavailable:
                    break
                if fault == "lost":
                    # It was done, and the process has not heard of it.
                    convoy = Convoy(self._connection, log, dict(positions))
                elif not handled:
                    positions = self._positions()
                    self._wait_for_news(min(positions.values()), scheduler, head)

    def _wait_for_news(self, position: int, scheduler: Scheduler, head: Callable[[], int]) -> None:
        scheduler.wait_for(lambda: head() > position, _IDLE_SECONDS_MAX)

    def _positions(self) -> dict[Projection, int]:
        return {
            projection: checkpoints.enlist(self._connection, projection).position
            for projection in PROJECTIONS
        }

    def judge(self, at: datetime) -> None:
        """Assert that the read models have kept up, and that `creditledger verify` is content."""
        head = self._log.head()
        for projection in PROJECTIONS:
            reached = checkpoints.checkpoint(self._connection, projection.name).position
            assert reached == head, f"{projection.name} is at {reached} of {head}"
        report = verify_ledger(self._url, at)
        assert report.clean, "\n".join(str(difference) for difference in report.differences)


class _ShortPages:
    """The log, a few events at a time."""

    def __init__(self, log: EventLog, scheduler: Scheduler) -> None:
        self._log = log
        self._chance = scheduler.chance

    def head(self) -> int:
        return self._log.head()

    def read(self, after: int, limit: int) -> Page:
        return self._log.read(after, self._chance.randint(1, min(limit, _PAGE)))


@contextmanager
def _failing(projection: Projection, fault: str | None) -> Iterator[None]:
    """Let a projection fail after it has written its rows: once, or by a crash of the process."""
    if fault is None or fault == "lost":
        yield
        return
    handle = projection.handle
    failed: list[str] = []

    def fail(cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        handle(cursor, events)
        if not failed:
            failed.append(fault)
            raise Unavailable("crashed") if fault == "crash" else RuntimeError("out of luck")

    with patch.object(projection, "handle", fail):
        yield
