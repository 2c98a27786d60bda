"""A writer on a real log, and a hand on its lock: what tests of group commit tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from time import monotonic, sleep
from urllib.parse import urlsplit

from psycopg.sql import SQL, Identifier

from creditledger.domain.amounts import Credits
from creditledger.domain.commands import Command, DeductCredits, GrantCredits
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Batch, Outcome, Receipt, Wish
from creditledger.infra.database import connect
from creditledger.infra.event_store import PostgresLedgerStore

CLIENT = "client_1"

#: The lock that `creditledger_append` takes.
_HOLD = "SELECT pg_advisory_lock(1129071687, 'ledger_events'::regclass::oid::integer)"

_THROW_OUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = %s AND pid <> pg_backend_pid() AND application_name = 'tests'
"""
_THROW_OUT_WAITING = f"{_THROW_OUT} AND wait_event_type = 'Lock'"

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"

#: Far more than any step of these tests takes.
PATIENCE_SECONDS = 20.0


def grant(customer_id: str = "ada", amount: int = 1) -> GrantCredits:
    """Give credits."""
    return GrantCredits(customer_id=customer_id, amount=Credits(amount))


def deduct(customer_id: str = "ada", amount: int = 1) -> DeductCredits:
    """Spend credits."""
    return DeductCredits(customer_id=customer_id, amount=Credits(amount))


def wish(key: str, command: Command | None = None) -> Wish:
    """The command under this key; one credit for Ada where none is given."""
    return Wish(
        command=command or grant(),
        actor=f"client:{CLIENT}",
        client_id=CLIENT,
        key=key,
        fingerprint=repr(command).encode(),
    )


def batch(key: str, size: int) -> Batch:
    """So many grants to Ada under one key, with a key for each."""
    wishes = [wish(f"{key}-{number}") for number in range(size)]
    return Batch(wishes=wishes, all_or_nothing=False, client_id=CLIENT, key=key)


def ledger(store: PostgresLedgerStore) -> Ledger:
    """A ledger that knows what time it is."""
    return Ledger(store, now=lambda: datetime.now(UTC))


class Watched:
    """A ledger that notes what it was asked to decide together."""

    def __init__(self, inner: Ledger) -> None:
        self._inner = inner
        self.batches: list[list[str | None]] = []

    def ready(self, ahead: Sequence[Wish | Batch] = ()) -> AbstractContextManager[None]:
        """At once: what the ledger waits for, it waits for with the commands in hand."""
        return nullcontext()

    def handle(self, items: Sequence[Wish | Batch]) -> Sequence[Outcome]:
        """Note the keys, and hand them on."""
        self.batches.append([item.key for item in items])
        return self._inner.handle(items)


@contextmanager
def log_locked(url: str) -> Iterator[None]:
    """Nobody can append meanwhile."""
    with connect(url, "tests") as connection:
        connection.execute(_HOLD)
        yield


@contextmanager
def unreachable(server_url: str, url: str) -> Iterator[None]:
    """The server lets nobody into the database meanwhile, and has thrown out who was there."""
    name = Identifier(urlsplit(url).path.removeprefix("/"))
    with connect(server_url, "tests") as connection:
        connection.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        connection.execute(_THROW_OUT, (name.as_string().strip('"'),))
        try:
            yield
        finally:
            connection.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


def throw_out(url: str, *, waiting_for_lock: bool = False) -> int:
    """End the server's processes that work for others in this database; return how many."""
    with connect(url, "tests killer") as connection:
        statement = _THROW_OUT_WAITING if waiting_for_lock else _THROW_OUT
        name = urlsplit(url).path.removeprefix("/")
        return connection.execute(statement, (name,)).rowcount


def waiting_for_lock(url: str) -> int:
    """How many of the server's processes wait for a lock in this database."""
    name = urlsplit(url).path.removeprefix("/")
    with connect(url, "tests") as connection:
        row = connection.execute(_WAITING, (name,)).fetchone()
    assert row is not None
    return int(row[0])


def await_that(condition: Callable[[], bool]) -> None:
    """Wait until it is so, and fail where it does not come to that."""
    deadline = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < deadline, "it did not come to that"
        sleep(0.002)


def position_of(outcome: Outcome) -> int:
    """Where the change stands; fails where there is none."""
    assert isinstance(outcome, Receipt), outcome
    return outcome.position
