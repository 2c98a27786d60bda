"""Whatever happens to connections and servers, the log stays whole and receipts tell the truth."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, sleep

import pytest

from commit_story import (
    CLIENT,
    PATIENCE_SECONDS,
    await_that,
    deduct,
    grant,
    ledger,
    log_locked,
    position_of,
    throw_out,
    wish,
)
from creditledger.domain.events import Deducted
from creditledger.domain.receipt import Outcome, Receipt
from creditledger.domain.store import Conflict, Unavailable
from creditledger.infra.database import Pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.group_commit import GroupCommit
from log_story import at_position, deducted, history, pool_for, receipt
from lossy_proxy import lossy

WRITERS = 6
APPENDS = 60


def write_much(url: str, name: str) -> int:
    """Append batches of all sizes to an own stream, and conflicts in between; return how many."""
    sizes = random.Random(name)
    version = 0
    with pool_for(url, size=1) as pool:
        store = PostgresLedgerStore(pool)
        for number in range(APPENDS):
            size = sizes.randint(1, 20)
            store.append(
                history(name, first=version + 1, last=version + size),
                [(receipt(f"{name}{number}"), size)],
                [],
            )
            version += size
            with pytest.raises(Conflict):
                store.append(
                    [deducted(f"{name}{number}", 1)], [(receipt(f"{name}{number}"), 1)], []
                )
    return version


def test_a_tailer_sees_every_position_once_and_in_order_while_many_write(
    log: EventLog, database_url: str
) -> None:
    finished = threading.Event()

    def tail() -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []
        ending = False
        while not ending:
            ending = finished.is_set()
            for position, event in log.read(len(seen), 500).events:
                assert position == len(seen) + 1
                assert isinstance(event, Deducted)
                seen.append((event.customer_id, event.originator_version))
        return seen

    with ThreadPoolExecutor(WRITERS + 1) as threads:
        tailing = threads.submit(tail)
        names = [f"writer{number}" for number in range(WRITERS)]
        last = dict(
            zip(names, threads.map(write_much, [database_url] * WRITERS, names), strict=True)
        )
        finished.set()
        seen = tailing.result(PATIENCE_SECONDS)
    assert len(seen) == sum(last.values()) == log.head()
    for name in names:
        versions = [version for customer_id, version in seen if customer_id == name]
        assert versions == list(range(1, last[name] + 1))


def test_a_backend_that_is_killed_before_it_commits_has_saved_nothing(
    pool: Pool, log: EventLog, database_url: str
) -> None:
    store = PostgresLedgerStore(pool)
    with ThreadPoolExecutor(1) as threads, log_locked(database_url):
        appending = threads.submit(store.append, [deducted("ada", 1)], [(receipt("k"), 1)], [])
        await_that(lambda: throw_out(database_url, waiting_for_lock=True) == 1)
        with pytest.raises(Unavailable):
            appending.result(PATIENCE_SECONDS)
    assert store.receipt_by_key(CLIENT, "k") is None
    assert store.append([deducted("ada", 1)], [(receipt("k"), 1)], []) == 0
    assert log.head() == 1


def test_a_commit_whose_answer_was_lost_is_found_by_its_receipt(
    log: EventLog, database_url: str
) -> None:
    with lossy(database_url) as wire, pool_for(wire.url, size=1) as pool:
        store = PostgresLedgerStore(pool)
        store.append([deducted("ada", 1)], [], [])
        wire.lose_answer_to(b"lost key")
        with pytest.raises(Unavailable):
            store.append([deducted("ada", 2)], [(receipt("lost key"), 1)], [])
        assert store.receipt_by_key(CLIENT, "lost key") == at_position(receipt("lost key"), 2)
        with pytest.raises(Conflict):
            store.append([deducted("ada", 3)], [(receipt("lost key"), 1)], [])
    assert log.head() == 2


@pytest.mark.parametrize("marker", [b"lost key", b"COMMIT"])
def test_a_commit_whose_answer_was_lost_is_told_to_its_caller_and_done_once(
    marker: bytes, log: EventLog, database_url: str
) -> None:
    with (
        lossy(database_url) as wire,
        pool_for(wire.url, size=1) as pool,
        GroupCommit(ledger(PostgresLedgerStore(pool))) as writer,
    ):
        writer.submit(wish("first")).result(PATIENCE_SECONDS)
        wire.lose_answer_to(marker)
        told = writer.submit(wish("lost key")).result(PATIENCE_SECONDS)
        assert position_of(told) == 2
        assert position_of(writer.submit(wish("last")).result(PATIENCE_SECONDS)) == 3
    assert log.head() == 3


def test_clients_that_repeat_their_keys_get_everything_done_once_while_backends_are_killed(
    log: EventLog, database_url: str
) -> None:
    """Each key is sent until it is answered; what was answered is what the log says."""
    deadline = monotonic() + 3.0
    pauses = random.Random(7)
    killed = 0

    def client(name: str, writer: GroupCommit) -> dict[str, int]:
        positions: dict[str, int] = {}
        while monotonic() < deadline:
            key = f"{name} {len(positions)}"
            while key not in positions:
                reply: Future[Outcome] = writer.submit(wish(key, grant(name)))
                try:
                    positions[key] = position_of(reply.result(PATIENCE_SECONDS))
                except Unavailable:
                    continue
        return positions

    with (
        pool_for(database_url, size=1) as pool,
        GroupCommit(ledger(PostgresLedgerStore(pool))) as writer,
        ThreadPoolExecutor(8) as threads,
    ):
        clients = [threads.submit(client, f"client{number}", writer) for number in range(8)]
        while monotonic() < deadline:
            killed += throw_out(database_url)
            sleep(pauses.uniform(0.05, 0.6))
        answered = [reply.result() for reply in clients]
    positions = sorted(position for told in answered for position in told.values())
    assert killed > 3
    assert positions == list(range(1, log.head() + 1))


def test_two_writers_on_the_same_accounts_get_everything_done_once(
    log: EventLog, database_url: str
) -> None:
    """Each is a process's own writer, with its own memory of the accounts."""
    accounts, grants_each = ("ada", "bob", "eve"), 120

    def client(name: str, writer: GroupCommit) -> list[int]:
        replies = [
            writer.submit(wish(f"{name} {number}", grant(accounts[number % len(accounts)])))
            for number in range(grants_each)
        ]
        return [position_of(reply.result(PATIENCE_SECONDS)) for reply in replies]

    with (
        pool_for(database_url, size=1) as one_pool,
        pool_for(database_url, size=1) as other_pool,
        GroupCommit(ledger(PostgresLedgerStore(one_pool)), batch_limit=7) as one,
        GroupCommit(ledger(PostgresLedgerStore(other_pool)), batch_limit=5) as other,
        ThreadPoolExecutor(4) as threads,
    ):
        clients = [
            threads.submit(client, f"client{number}", writer)
            for number, writer in enumerate((one, other, one, other))
        ]
        positions = sorted(position for reply in clients for position in reply.result())
        assert positions == list(range(1, 4 * grants_each + 1))
        # Each account holds exactly what it was given.
        each = 4 * grants_each // len(accounts)
        for customer_id in accounts:
            told = one.submit(wish(f"all of {customer_id}", deduct(customer_id, each)))
            outcome = told.result(PATIENCE_SECONDS)
            assert isinstance(outcome, Receipt)
            assert outcome.answer["balance"]["available"] == 0
    assert log.head() == len(positions) + len(accounts)
