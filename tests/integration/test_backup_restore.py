"""A dump, restored into a new database, holds the same ledger: docs/backup-and-restore.md."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from creditledger.domain.amounts import Credits
from creditledger.domain.commands import (
    CaptureHold,
    Command,
    DeductCredits,
    GrantCredits,
    HoldCredits,
    RefundDeduction,
)
from creditledger.domain.receipt import Receipt, Wish
from creditledger.infra.database import connect
from creditledger.infra.embedded_postgres import binaries
from creditledger.infra.migrate import migrate
from creditledger.infra.proof import verify_ledger
from creditledger.infra.read_side import keep_up
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import Service, machine_clock, service

CUSTOMERS = ("ada", "grace", "linus")


def play(running: Service, customer: str) -> None:
    """A short story of one customer, with a key for every command."""

    def decide(key: str, command: Command) -> Receipt:
        wish = Wish(
            command=command, actor="client:tests", client_id="tests", key=f"{customer}-{key}"
        )
        told = running.writer.submit(wish).result(timeout=30)
        assert isinstance(told, Receipt)
        return told

    decide("grant", GrantCredits(customer_id=customer, amount=Credits(500), source="top_up"))
    held = decide("hold", HoldCredits(customer_id=customer, amount=Credits(120)))
    decide("capture", CaptureHold(hold_id=held.answer["hold_id"], amount=Credits(70)))
    spent = decide("deduct", DeductCredits(customer_id=customer, amount=Credits(60)))
    deduction_id = spent.answer["deduction_id"]
    decide("refund", RefundDeduction(deduction_id=deduction_id, amount=Credits(25)))
    refused = decide("too much", DeductCredits(customer_id=customer, amount=Credits(9_999)))
    assert refused.outcome == "insufficient_credits"


def wait_for_projections(url: str) -> None:
    deadline = time.monotonic() + 30
    with connect(url, "tests") as connection:
        while True:
            row = connection.execute(
                "SELECT count(*) FROM projections"
                " WHERE position < (SELECT max(notification_id) FROM ledger_events)"
            ).fetchone()
            known = connection.execute("SELECT count(*) FROM projections").fetchone()
            if row == (0,) and known != (0,):
                return
            assert time.monotonic() < deadline, "projections do not catch up"
            time.sleep(0.05)


def copy(ledger: str, empty: str, folder: Path) -> None:
    """Dump a ledger and restore it, with the tools of the server's version."""
    with connect(ledger, "tests") as connection:
        major = connection.info.server_version // 10_000
    tools = binaries() if major == 18 else Path(f"/usr/lib/postgresql/{major}/bin")
    dump = str(folder / "ledger.dump")
    run(tools / "pg_dump", "--format=custom", "--no-owner", f"--file={dump}", ledger)
    run(tools / "pg_restore", "--no-owner", "--single-transaction", f"--dbname={empty}", dump)


def run(program: Path, *arguments: str) -> None:
    done = subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def rows(url: str, query: str) -> object:
    with connect(url, "tests") as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def ledger(database_url: str) -> str:
    """The address of a ledger with some history, and read models that have caught up."""
    with service(Settings(), database_url) as running:
        for customer in CUSTOMERS:
            play(running, customer)
        stop = threading.Event()
        projections = threading.Thread(target=keep_up, args=(running, stop))
        projections.start()
        try:
            wait_for_projections(database_url)
        finally:
            stop.set()
            projections.join()
    return database_url


def test_a_dump_restored_elsewhere_is_the_same_ledger(
    ledger: str, empty_database_url: str, tmp_path: Path
) -> None:
    assert verify_ledger(ledger, machine_clock()).clean
    copy(ledger, empty_database_url, tmp_path)
    assert migrate(empty_database_url) == []
    report = verify_ledger(empty_database_url, machine_clock())
    assert report.clean, report.differences
    assert report.counts.accounts == len(CUSTOMERS)
    for table in ("ledger_events", "receipts"):
        query = f"SELECT {table}::text FROM {table} ORDER BY 1"
        assert rows(empty_database_url, query) == rows(ledger, query)


def test_commands_go_on_after_a_restore_and_old_keys_are_known(
    ledger: str, empty_database_url: str, tmp_path: Path
) -> None:
    copy(ledger, empty_database_url, tmp_path)
    head = rows(ledger, "SELECT max(notification_id) FROM ledger_events")
    with service(Settings(), empty_database_url) as running:
        for customer in CUSTOMERS:
            play(running, customer)
        assert rows(empty_database_url, "SELECT max(notification_id) FROM ledger_events") == head
        play(running, "new")
    report = verify_ledger(empty_database_url, machine_clock())
    assert report.clean, report.differences
    assert report.counts.accounts == len(CUSTOMERS) + 1
