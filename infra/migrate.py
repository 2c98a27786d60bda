"""Brings a database's tables to what this version expects.

The steps are `migrations/NNNN_name.sql`, each run once, in order, in a transaction of its own. A
step that was released is never edited: what changes later is a new step.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from psycopg import Connection
from psycopg.rows import TupleRow

from creditledger.infra.database import connect

#: The advisory lock that one migration holds in a database ("cl migr" in ASCII).
_LOCK = 0x636C206D696772

_STEP_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_CREATE_HISTORY = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        number integer PRIMARY KEY,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


class MigrationRefused(Exception):
    """The database does not fit this version; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered change of the tables."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Tells whether a step that ran was changed since."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def steps() -> list[Step]:
    """All steps of this version, in order."""
    found: list[Step] = []
    for file in resources.files("creditledger.infra").joinpath("migrations").iterdir():
        if match := _STEP_NAME.fullmatch(file.name):
            found.append(Step(int(match[1]), file.name.removesuffix(".sql"), file.read_text()))
    found.sort(key=lambda step: step.number)
    numbers = [step.number for step in found]
    if len(set(numbers)) != len(numbers):
        raise MigrationRefused(f"two migration steps have one number: {numbers}")
    return found


def migrate(url: str) -> list[str]:
    """Run the steps that this database lacks; return their names.

    Safe to start twice at once: the second waits for the first, and then finds nothing to do.
    Raises MigrationRefused where the database is newer than this version, or where a step that
    ran there is not the one of this version.
    """
    with connect(url, "creditledger migrate") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(_CREATE_HISTORY)
        pending = _pending(_applied(connection))
        for step in pending:
            _run(connection, step)
        return [step.name for step in pending]


def pending(url: str) -> list[str]:
    """The names of the steps that this database lacks. Raises MigrationRefused as `migrate`."""
    with connect(url, "creditledger migrate") as connection:
        row = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
        history = _applied(connection) if row is not None and row[0] else {}
        return [step.name for step in _pending(history)]


def _applied(connection: Connection[TupleRow]) -> dict[int, tuple[str, str]]:
    rows = connection.execute("SELECT number, name, checksum FROM schema_migrations")
    return {number: (name, checksum) for number, name, checksum in rows}


def _pending(applied: Mapping[int, tuple[str, str]]) -> list[Step]:
    known = {step.number: step for step in steps()}
    for number, (name, checksum) in sorted(applied.items()):
        step = known.get(number)
        if step is None:
            raise MigrationRefused(
                f"the database is newer than this version: it has step {name}, and the latest"
                f" here is {max(known, default=0):04d}; install the newer version"
            )
        if step.checksum != checksum:
            raise MigrationRefused(
                f"step {name} ran in this database in another form than {step.name} has here;"
                " was it edited after its release?"
            )
    return [step for number, step in sorted(known.items()) if number not in applied]


def _run(connection: Connection[TupleRow], step: Step) -> None:
    with connection.transaction():
        connection.execute(step.sql.encode())
        connection.execute(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
            (step.number, step.name, step.checksum),
        )
