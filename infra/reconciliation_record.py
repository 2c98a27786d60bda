"""How far each provider was reconciled, in the database.

What one environment of a provider was told says nothing of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import class_row

from creditledger.domain.provider_commands import Provider
from creditledger.infra.database import Pool
from creditledger.infra.event_log import reaching
from creditledger.infra.provider_lists import Window
from creditledger.infra.reconciliation import Tally
from creditledger.infra.settings import Environment, Settings

#: What the providers list late, and what was skipped by a clock that is off, is found again.
OVERLAP: Final = timedelta(days=3)

#: How soon a run that failed is tried again.
_AFTER_FAILURE: Final = timedelta(hours=1)

# The schedule begins where it is first asked for, and not before.
_BEGIN: Final = """
    INSERT INTO reconciliations (provider, environment, covered_from)
    VALUES (%(provider)s, %(environment)s, %(now)s)
    ON CONFLICT DO NOTHING
"""

_COLUMNS: Final = """
    provider, environment, covered_from, succeeded_at, tried_at, error,
    objects_read, objects_brought
"""

_PROGRESS: Final = f"""
    SELECT {_COLUMNS} FROM reconciliations
    WHERE provider = %(provider)s AND environment = %(environment)s
"""  # noqa: S608 - the columns are those above

_ALL: Final = f"SELECT {_COLUMNS} FROM reconciliations"  # noqa: S608 - the columns are those above

# A run counts as the last that succeeded where it leaves no gap behind the one before it.
_RECORD: Final = """
    UPDATE reconciliations
    SET tried_at = %(now)s,
        error = %(error)s,
        covered_from = CASE WHEN %(error)s::text IS NULL
            THEN least(covered_from, %(since)s) ELSE covered_from END,
        succeeded_at = CASE
            WHEN %(error)s::text IS NULL AND %(since)s <= coalesce(succeeded_at, covered_from)
            THEN greatest(succeeded_at, %(until)s) ELSE succeeded_at END,
        objects_read = objects_read + %(read)s,
        objects_brought = objects_brought + %(brought)s
    WHERE provider = %(provider)s AND environment = %(environment)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a provider was reconciled, in one environment; all times are aware."""

    provider: Provider
    environment: Environment
    covered_from: datetime
    succeeded_at: datetime | None
    tried_at: datetime | None
    error: str | None
    objects_read: int
    objects_brought: int

    def window(self, until: datetime) -> Window:
        """What the next run has to look at."""
        if self.succeeded_at is None:
            return Window(self.covered_from, until)
        return Window(max(self.covered_from, self.succeeded_at - OVERLAP), until)

    def is_due(self, now: datetime, interval: timedelta) -> bool:
        """Whether the next run should begin."""
        if self.tried_at is None:
            return True
        wait = interval if self.error is None else min(interval, _AFTER_FAILURE)
        return self.tried_at + wait <= now


class Record:
    """What is written down of one provider's reconciliation. Everything raises Unavailable."""

    def __init__(
        self,
        pool: Pool,
        provider: Provider,
        environment: Environment,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._named: dict[str, Any] = {"provider": provider, "environment": environment}
        self._now = now

    def progress(self) -> Progress:
        """How far it has come; it begins now where it was never asked for."""
        with (
            reaching(self._pool) as connection,
            connection.cursor(row_factory=class_row(Progress)) as cursor,
        ):
            cursor.execute(_BEGIN, {**self._named, "now": self._now()})
            found = cursor.execute(_PROGRESS, self._named).fetchone()
        assert found is not None
        return found

    @contextmanager
    def run(self, window: Window, tally: Tally) -> Iterator[None]:
        """Write down what became of the run in the block."""
        self.progress()
        error: str | None = "stopped in the middle"
        try:
            yield
            error = _missed(tally)
        except Exception as fault:
            error = str(fault) or type(fault).__name__
            raise
        finally:
            with reaching(self._pool) as connection:
                connection.execute(
                    _RECORD,
                    {
                        **self._named,
                        "now": self._now(),
                        "since": window.since,
                        "until": window.until,
                        "error": error,
                        "read": tally.read.total(),
                        "brought": sum(map(len, tally.brought.values())),
                    },
                )


def _missed(tally: Tally) -> str | None:
    """The lists that a run could not read; single objects are told to people, not waited for."""
    missed = [f"{passed.name}: {passed.detail}" for passed in tally.passed if passed.whole_list]
    return "; ".join(missed) or None


async def progress_in(connection: AsyncConnection[Any], settings: Settings) -> list[Progress]:
    """How far each provider was reconciled in the environment that is set."""
    async with connection.cursor(row_factory=class_row(Progress)) as cursor:
        found = await (await cursor.execute(_ALL)).fetchall()
    return [each for each in found if each.environment == settings.environment_of(each.provider)]
