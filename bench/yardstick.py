"""The yardstick: PostgreSQL itself, one event insert and one balance update a transaction.

pgbench, from the same package as the server, with as many accounts as the service's load has
(docs/decisions/0024-yardstick.md).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from creditledger.infra.embedded_postgres import binaries

ACCOUNTS = 10_000

_TABLES = """
CREATE TABLE IF NOT EXISTS yardstick_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account int NOT NULL, amount bigint NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS yardstick_balances (account int PRIMARY KEY, balance bigint NOT NULL);
INSERT INTO yardstick_balances SELECT n, 0 FROM generate_series(1, {accounts}) n
    ON CONFLICT DO NOTHING;
"""

#: As an application writes it: four statements, prepared, each sent by itself.
TRANSACTION = """\\set account random(1, {accounts})
BEGIN;
INSERT INTO yardstick_events (account, amount) VALUES (:account, 1);
UPDATE yardstick_balances SET balance = balance - 1 WHERE account = :account;
END;
"""

#: The same in one round trip: what is left when the application's part is as small as it gets.
ONE_STATEMENT = """\\set account random(1, {accounts})
WITH event AS (INSERT INTO yardstick_events (account, amount) VALUES (:account, 1))
UPDATE yardstick_balances SET balance = balance - 1 WHERE account = :account;
"""


@dataclass(frozen=True)
class Yardstick:
    """What PostgreSQL does without us: transactions a second, and milliseconds each."""

    per_second: float
    latency_ms: float


def measure(dsn: str, *, clients: int, seconds: int, transaction: str = TRANSACTION) -> Yardstick:
    """Run pgbench for so long with so many clients."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_TABLES.format(accounts=ACCOUNTS).encode())
        connection.execute("VACUUM ANALYZE yardstick_balances")
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(transaction.format(accounts=ACCOUNTS))
        script.flush()
        done = subprocess.run(
            [
                str(Path(binaries()) / "pgbench"),
                *("--no-vacuum", "--protocol=prepared", f"--file={script.name}"),
                *(f"--client={clients}", "--jobs=2" if clients > 1 else "--jobs=1"),
                *(f"--time={seconds}", dsn),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
    return Yardstick(
        per_second=float(_found(r"tps = ([\d.]+)", done.stdout)),
        latency_ms=float(_found(r"latency average = ([\d.]+) ms", done.stdout)),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"pgbench printed no {pattern!r}:\n{text}")
    return match[1]


class Beside:
    """The yardstick's transactions a second before and after something, and their mean."""

    per_second = 0.0


class Ruler:
    """Lays the yardstick on before and after each load, because machines change their pace.

    Sixteen clients, for so many seconds each time; what is measured after one load is what was
    before the next.
    """

    def __init__(self, dsn: str, *, seconds: int) -> None:
        self._dsn = dsn
        self._seconds = seconds
        self._last = self._measure()

    @contextmanager
    def beside(self) -> Iterator[Beside]:
        """What is done in this block is measured against what is told after it."""
        beside, before = Beside(), self._last
        yield beside
        self._last = self._measure()
        beside.per_second = (before + self._last) / 2

    def _measure(self) -> float:
        return measure(self._dsn, clients=16, seconds=self._seconds).per_second
