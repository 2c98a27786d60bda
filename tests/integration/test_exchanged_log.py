"""A ledger goes on while its log loses its end: a standby took over that had not heard of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from commit_story import deduct, grant, ledger, wish
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Receipt, Wish
from creditledger.domain.turns import QUIET_TURNS
from creditledger.infra.database import connect
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.proof import verify_ledger
from log_story import pool_for
from read_models import catch_up


def tell(writer: Ledger, wished: Wish) -> Receipt:
    """What the wish was told for the first time."""
    (told,) = writer.handle([wished])
    assert isinstance(told, Receipt)
    assert (told.outcome, told.replayed) == ("accepted", False)
    return told


def lose_the_newest(url: str) -> None:
    """Take the newest event and its receipt out of the log, as if they had never been."""
    with connect(url, "tests") as connection:
        for table, column in (("receipts", "position"), ("ledger_events", "notification_id")):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
            connection.execute(
                f"DELETE FROM {table} WHERE {column} ="
                " (SELECT max(notification_id) FROM ledger_events)".encode()
            )
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("since", [0, 1, 3])
def test_the_books_are_right_whatever_was_written_to_it_since(
    database_url: str, *, since: int, alone: bool
) -> None:
    with pool_for(database_url) as pool:
        one, other = (ledger(PostgresLedgerStore(pool)) for _ in range(2))
        for number in range(QUIET_TURNS + 1 if alone else 1):
            tell(one, wish(f"first-{number}", grant("ada", 100)))
        before = tell(one, wish("bob", grant("bob", 100))).position
        spendable = 100 * (before - 1)
        lost = wish("lost", deduct("ada", 7))
        assert tell(one, lost).position == before + 1
        lose_the_newest(database_url)
        for number in range(since):
            tell(other, wish(f"since-{number}", deduct("bob", 1)))
        told = tell(one, wish("next", deduct("ada", 20)))
        assert told.answer["balance"]["available"] == spendable - 20
        assert told.position == before + since + 1
        assert tell(one, lost).answer["balance"]["available"] == spendable - 27
        catch_up(database_url, EventLog(pool))
    report = verify_ledger(database_url, datetime.now(UTC))
    assert report.clean, report.differences
