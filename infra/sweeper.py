"""The sweeper: has written down what time did to accounts that nobody touches.

Reads and commands apply what is due by themselves, so nothing depends on when this runs; it keeps
the books complete. One process sweeps at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event
from typing import Any, Final
from uuid import UUID

from psycopg import Connection

from creditledger.domain.commands import ExpireDue
from creditledger.domain.errors import LedgerError
from creditledger.domain.receipt import Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.database import Pool
from creditledger.infra.event_log import reaching
from creditledger.infra.group_commit import GroupCommit, Overloaded
from creditledger.projections.balances import due_accounts

_LOG = logging.getLogger(__name__)

#: Accounts that are settled at a time: few, so that callers' commands never wait long behind them.
BATCH: Final = 100

#: Accounts that are looked up at a time.
_LOOKED_UP: Final = 5_000

_ACTOR: Final = "system:sweeper"

# Whoever holds this lock sweeps this schema's accounts.
_TRY_LOCK: Final = """
    SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '/sweeper', 0))
"""
_UNLOCK: Final = """
    SELECT pg_advisory_unlock(hashtextextended(current_schema() || '/sweeper', 0))
"""


def sweep_until(
    stop: Event,
    pool: Pool,
    writer: GroupCommit,
    *,
    now: Callable[[], datetime],
    interval_seconds: float,
) -> None:
    """Sweep again and again until `stop` is set; what fails is tried again the next time."""
    while not stop.wait(interval_seconds):
        try:
            settled = sweep(pool, writer, now())
        except (Unavailable, Overloaded) as error:
            _LOG.warning("the sweep is put off: %s", error)
        else:
            if settled:
                _LOG.info("what was due was written down; accounts: %d", settled)


def sweep(pool: Pool, writer: GroupCommit, now: datetime) -> int:
    """Settle all accounts on which the read model knows something due; return how many.

    Returns 0 at once where another process is sweeping. Raises Unavailable and Overloaded.
    """
    with reaching(pool) as connection:
        row = connection.execute(_TRY_LOCK).fetchone()
        if row is None or not row[0]:
            return 0
        try:
            return _sweep(connection, writer, now)
        finally:
            if not connection.closed:
                connection.execute(_UNLOCK)


def _sweep(connection: Connection[Any], writer: GroupCommit, now: datetime) -> int:
    settled, after = 0, UUID(int=0)
    while due := due_accounts(connection, now, after=after, limit=_LOOKED_UP):
        for first in range(0, len(due), BATCH):
            settled += _settle(due[first : first + BATCH], writer)
        after = due[-1]
    return settled


def _settle(accounts: Sequence[UUID], writer: GroupCommit) -> int:
    settled = 0
    futures = [writer.submit(_expire_due(account)) for account in accounts]
    for account, future in zip(accounts, futures, strict=True):
        outcome = future.result()
        if isinstance(outcome, LedgerError):
            _LOG.error("what is due on account %s was not written down: %s", account, outcome)
        else:
            settled += 1
    return settled


def _expire_due(account: UUID) -> Wish:
    return Wish(command=ExpireDue(account_id=account), actor=_ACTOR, client_id=_ACTOR, key=None)
