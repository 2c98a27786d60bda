"""Commands that arrive together are saved together, and each caller gets its own answer."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from time import monotonic

import pytest

from commit_story import (
    CLIENT,
    PATIENCE_SECONDS,
    Watched,
    await_that,
    batch,
    deduct,
    grant,
    ledger,
    log_locked,
    position_of,
    throw_out,
    unreachable,
    waiting_for_lock,
    wish,
)
from creditledger.domain.errors import KeyReused
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import BatchReceipt, Outcome, Receipt
from creditledger.domain.store import Unavailable
from creditledger.domain.turns import QUIET_TURNS
from creditledger.infra.database import Pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.group_commit import Commit, GroupCommit, Overloaded
from creditledger.infra.lulls import Lulls


@pytest.fixture
def watched(store: PostgresLedgerStore) -> Watched:
    return Watched(ledger(store))


def told(reply: Future[Outcome]) -> Outcome:
    return reply.result(PATIENCE_SECONDS)


def occupied(writer: GroupCommit, watched: Watched) -> Future[Outcome]:
    """A command that the writer has in hand, and cannot save while the log is locked."""
    before = len(watched.batches)
    reply = writer.submit(wish("in hand"))
    await_that(lambda: len(watched.batches) > before)
    return reply


async def some_turns() -> None:
    """Let the loop send what its callers have queued: the writer is woken as a turn ends."""
    for _ in range(3):
        await asyncio.sleep(0)


# Together, in order.


@pytest.mark.anyio
async def test_what_one_turn_of_a_loop_brings_is_saved_together(watched: Watched) -> None:
    with GroupCommit(watched) as writer:
        for turn in ("a", "b"):
            names = [f"{turn}{number}" for number in range(50)]
            await asyncio.gather(*(writer.submit_async(wish(name)) for name in names))
            assert watched.batches[-1] == names


def test_what_arrives_meanwhile_is_saved_together_in_order(
    watched: Watched, database_url: str
) -> None:
    with GroupCommit(watched) as writer:
        with log_locked(database_url):
            first = occupied(writer, watched)
            rest = [writer.submit(wish(f"k{number}")) for number in range(20)]
            assert writer.queued_commands == 20
        assert position_of(told(first)) == 1
        assert [position_of(told(reply)) for reply in rest] == list(range(2, 22))
        assert writer.queued_commands == 0
    assert watched.batches == [["in hand"], [f"k{number}" for number in range(20)]]


def test_what_arrives_while_others_have_their_turn_is_saved_together(
    store: PostgresLedgerStore, database_url: str
) -> None:
    commits: list[Commit] = []
    with GroupCommit(ledger(store), observe=commits.append) as writer:
        with log_locked(database_url):
            replies = [writer.submit(wish("first"))]
            await_that(lambda: waiting_for_lock(database_url) == 1)
            replies += [writer.submit(wish(f"k{number}")) for number in range(20)]
        assert [position_of(told(reply)) for reply in replies] == list(range(1, 22))
    assert [commit.commands for commit in commits] == [21]


def test_a_turn_that_is_not_to_be_had_is_told_to_all_who_wait(
    store: PostgresLedgerStore, database_url: str
) -> None:
    with GroupCommit(ledger(store)) as writer:
        with log_locked(database_url):
            first = writer.submit(wish("first"))
            await_that(lambda: waiting_for_lock(database_url) == 1)
            second = writer.submit(wish("second"))
            throw_out(database_url, waiting_for_lock=True)
            for reply in (first, second):
                with pytest.raises(Unavailable):
                    told(reply)
        assert position_of(told(writer.submit(wish("second")))) == 1


def test_a_transaction_holds_no_more_commands_than_the_limit(
    watched: Watched, database_url: str
) -> None:
    with GroupCommit(watched, batch_limit=4) as writer, log_locked(database_url):
        occupied(writer, watched)
        replies = [writer.submit(wish("a")), writer.submit(batch("b", 4)), writer.submit(wish("c"))]
        replies += [writer.submit(wish(key)) for key in "defg"]
        replies.append(writer.submit(batch("large", 9)))
        replies.append(writer.submit(wish("last")))
    for reply in replies:
        told(reply)
    assert watched.batches[1:] == [["a"], ["b"], list("cdef"), ["g"], ["large"], ["last"]]


def test_each_caller_gets_its_own_answer(watched: Watched, database_url: str) -> None:
    with GroupCommit(watched) as writer:
        with log_locked(database_url):
            first = occupied(writer, watched)
            granted = writer.submit(wish("g", grant("bob", 5)))
            refused = writer.submit(wish("r", deduct("bob", 6)))
            reused = writer.submit(wish("g", grant("bob", 7)))
            replayed = writer.submit(wish("g", grant("bob", 5)))
            together = writer.submit(batch("b", 2))
        assert position_of(told(first)) == 1
        receipt = told(granted)
        assert position_of(receipt) == 2
        answer = told(refused)
        assert isinstance(answer, Receipt)
        assert (answer.outcome, answer.position) == ("insufficient_credits", 2)
        assert isinstance(told(reused), KeyReused)
        assert isinstance(receipt, Receipt)
        assert told(replayed) == receipt.as_replay()
        own = told(together)
        assert isinstance(own, BatchReceipt)
        assert [position_of(result) for result in own.results if isinstance(result, Receipt)] == [
            3,
            4,
        ]


def test_nobody_is_answered_before_the_commit(
    watched: Watched, store: PostgresLedgerStore, database_url: str
) -> None:
    with GroupCommit(watched) as writer:
        with log_locked(database_url):
            reply = occupied(writer, watched)
            with pytest.raises(TimeoutError):
                reply.result(0.2)
            assert store.receipt_by_key(CLIENT, "in hand") is None
        assert told(reply) == store.receipt_by_key(CLIENT, "in hand")


def test_many_threads_get_positions_of_their_own(watched: Watched, pool: Pool) -> None:
    with GroupCommit(watched) as writer, ThreadPoolExecutor(16) as threads:
        replies = threads.map(
            lambda n: told(writer.submit(wish(f"k{n}", grant(f"c{n % 7}")))), range(400)
        )
        assert sorted(position_of(reply) for reply in replies) == list(range(1, 401))
    assert EventLog(pool).head() == 400
    assert len(watched.batches) < 400


def test_the_writer_s_lulls_are_while_it_waits_for_commands_or_for_the_database(
    pool: Pool, database_url: str
) -> None:
    lulls = Lulls()
    deciding, may_decide = threading.Event(), threading.Event()

    def now() -> datetime:
        deciding.set()
        assert may_decide.wait(PATIENCE_SECONDS)
        return datetime.now(UTC)

    decider = Ledger(PostgresLedgerStore(pool, lulls=lulls), now=now)
    with GroupCommit(decider, lulls=lulls) as writer:
        await_that(lambda: lulls.lasting)
        with log_locked(database_url):
            first = writer.submit(wish("first"))
            await_that(lambda: waiting_for_lock(database_url) == 1)
            assert lulls.lasting, "it waits for its turn"
        assert deciding.wait(PATIENCE_SECONDS)
        await_that(lambda: not lulls.lasting)
        may_decide.set()
        told(first)
        for number in range(QUIET_TURNS):
            told(writer.submit(wish(f"k{number}")))
        with log_locked(database_url):
            last = writer.submit(wish("last"))
            await_that(lambda: waiting_for_lock(database_url) == 1)
            assert lulls.lasting, "it waits for what it saves"
        told(last)
        await_that(lambda: lulls.lasting)


# In event loops.


@pytest.mark.anyio
async def test_callers_in_an_event_loop_are_answered_there(watched: Watched) -> None:
    with GroupCommit(watched) as writer:
        outcomes = await asyncio.gather(*(writer.submit_async(wish(f"k{n}")) for n in range(50)))
    assert [position_of(outcome) for outcome in outcomes] == list(range(1, 51))


@pytest.mark.anyio
async def test_a_batch_is_one_call_into_the_event_loop(
    watched: Watched, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    original = loop.call_soon_threadsafe

    def counted(callback: object, *args: object, **kwargs: object) -> asyncio.Handle:
        calls.append(callback)
        return original(callback, *args, **kwargs)  # type: ignore[arg-type]

    with GroupCommit(watched) as writer:
        with log_locked(database_url):
            occupied(writer, watched)
            tasks = [asyncio.ensure_future(writer.submit_async(wish(f"k{n}"))) for n in range(30)]
            await asyncio.sleep(0)
            monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        await asyncio.gather(*tasks)
    assert len(calls) == 1


def test_event_loops_in_several_threads_are_answered_each_in_its_own(watched: Watched) -> None:
    async def some(name: str) -> list[int]:
        replies = (writer.submit_async(wish(f"{name}{n}")) for n in range(20))
        return [position_of(outcome) for outcome in await asyncio.gather(*replies)]

    with GroupCommit(watched) as writer, ThreadPoolExecutor(3) as threads:
        found = threads.map(lambda name: asyncio.run(some(name)), "abc")
        assert sorted(position for positions in found for position in positions) == [*range(1, 61)]


def test_an_event_loop_that_is_gone_does_not_stop_the_others(
    watched: Watched, database_url: str
) -> None:
    async def leave() -> None:
        task = asyncio.ensure_future(writer.submit_async(wish("gone")))
        await some_turns()
        await_that(lambda: ["gone"] in watched.batches)
        task.cancel()

    with GroupCommit(watched) as writer:
        with log_locked(database_url):
            asyncio.run(leave())
            other = writer.submit(wish("other"))
        assert position_of(told(other)) == 2


# Callers that go away.


def test_a_command_that_is_cancelled_in_the_queue_is_not_tried(
    watched: Watched, store: PostgresLedgerStore, database_url: str
) -> None:
    with GroupCommit(watched) as writer:
        with log_locked(database_url):
            occupied(writer, watched)
            cancelled, kept = writer.submit(wish("cancelled")), writer.submit(wish("kept"))
            assert cancelled.cancel()
        assert position_of(told(kept)) == 2
    assert store.receipt_by_key(CLIENT, "cancelled") is None


@pytest.mark.anyio
async def test_a_caller_that_goes_away_breaks_nothing(
    watched: Watched, store: PostgresLedgerStore, database_url: str
) -> None:
    with GroupCommit(watched) as writer:
        with log_locked(database_url):
            in_hand = asyncio.ensure_future(writer.submit_async(wish("in hand")))
            await some_turns()
            await_that(lambda: bool(watched.batches))
            queued = asyncio.ensure_future(writer.submit_async(wish("queued")))
            kept = asyncio.ensure_future(writer.submit_async(wish("kept")))
            await asyncio.sleep(0)
            in_hand.cancel()
            queued.cancel()
            await asyncio.sleep(0)
        assert position_of(await kept) == 2
    assert store.receipt_by_key(CLIENT, "in hand") is not None
    assert store.receipt_by_key(CLIENT, "queued") is None


# Too much.


def test_past_the_limit_a_command_is_refused_at_once(watched: Watched, database_url: str) -> None:
    with GroupCommit(watched, queue_limit=10) as writer, log_locked(database_url):
        occupied(writer, watched)
        replies = [writer.submit(batch("b", 9))]
        for size in (2, 1000):
            with pytest.raises(Overloaded) as refusal:
                writer.submit(batch("more", size))
            assert 1 <= refusal.value.retry_after_seconds <= 30
        replies.append(writer.submit(wish("tenth")))
        with pytest.raises(Overloaded):
            writer.submit(wish("eleventh"))
    for reply in replies:
        told(reply)


def test_there_is_room_again_when_the_queue_was_worked_off(
    watched: Watched, database_url: str
) -> None:
    with GroupCommit(watched, queue_limit=2) as writer:
        with log_locked(database_url):
            occupied(writer, watched)
            replies = [writer.submit(wish(key)) for key in "ab"]
        assert [position_of(told(reply)) for reply in replies] == [2, 3]
        assert position_of(told(writer.submit(wish("c")))) == 4


def test_an_empty_queue_takes_a_batch_of_any_size(watched: Watched) -> None:
    with GroupCommit(watched, queue_limit=2, batch_limit=2) as writer:
        assert isinstance(told(writer.submit(batch("b", 10))), BatchReceipt)


# Trouble.


def test_a_store_that_cannot_be_reached_is_unavailable_until_it_is_back(
    watched: Watched, pool: Pool, database_url: str, postgres_url: str
) -> None:
    pool.timeout = 0.3

    def answered(key: str) -> bool:
        try:
            return position_of(told(writer.submit(wish(key)))) == 2
        except Unavailable:
            return False

    with GroupCommit(watched) as writer:
        assert position_of(told(writer.submit(wish("a")))) == 1
        with unreachable(postgres_url, database_url), pytest.raises(Unavailable):
            told(writer.submit(wish("b")))
        await_that(lambda: answered("b"))


def test_whoever_waits_too_long_is_told_what_is_known(
    watched: Watched, store: PostgresLedgerStore, database_url: str
) -> None:
    with GroupCommit(watched, answer_seconds_max=0.3) as writer:
        with log_locked(database_url):
            in_hand = occupied(writer, watched)
            queued = writer.submit(wish("queued"))
            with pytest.raises(Unavailable):
                told(in_hand)
            with pytest.raises(Overloaded):
                told(queued)
        # The outcome was unknown, and now the same key tells it.
        assert position_of(told(writer.submit(wish("in hand")))) == 1
    assert store.receipt_by_key(CLIENT, "queued") is None


def test_a_fault_of_the_ledger_is_unavailable_and_the_writer_goes_on(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(items: object) -> list[Outcome]:
        raise ZeroDivisionError

    with GroupCommit(watched) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(watched, "handle", broken)
            with pytest.raises(Unavailable):
                told(writer.submit(wish("a")))
        assert "ZeroDivisionError" in caplog.text
        assert position_of(told(writer.submit(wish("a")))) == 1


# Closing.


def test_closing_finishes_what_is_queued_and_takes_nothing_new(
    watched: Watched, database_url: str
) -> None:
    writer = GroupCommit(watched)
    with ThreadPoolExecutor(1) as threads:
        with log_locked(database_url):
            first = occupied(writer, watched)
            queued = [writer.submit(wish(key)) for key in "abc"]
            closing = threads.submit(writer.close)
            await_that(lambda: writer._closing)
            with pytest.raises(Overloaded):
                writer.submit(wish("late"))
        closing.result(PATIENCE_SECONDS)
    assert [position_of(reply.result(0)) for reply in [first, *queued]] == [1, 2, 3, 4]
    writer.close()


def test_closing_never_hangs_and_tells_the_truth(
    watched: Watched, store: PostgresLedgerStore, database_url: str
) -> None:
    writer = GroupCommit(watched)
    with log_locked(database_url):
        in_hand = occupied(writer, watched)
        queued = writer.submit(wish("queued"))
        began = monotonic()
        writer.close(timeout_seconds=0.2)
        assert monotonic() - began < 5
        with pytest.raises(Unavailable):
            in_hand.result(0)
        with pytest.raises(Overloaded):
            queued.result(0)
    # It was in hand, so it may have been saved after all, as the key tells; the other was not.
    await_that(lambda: store.receipt_by_key(CLIENT, "in hand") is not None)
    assert store.receipt_by_key(CLIENT, "queued") is None


def test_closing_stops_its_threads(watched: Watched) -> None:
    before = threading.active_count()
    writer = GroupCommit(watched)
    told(writer.submit(wish("a")))
    writer.close()
    assert threading.active_count() == before


# Measuring.


def test_every_transaction_is_measured(watched: Watched, database_url: str) -> None:
    commits: list[Commit] = []
    with GroupCommit(watched, observe=commits.append) as writer:
        with log_locked(database_url):
            occupied(writer, watched)
            writer.submit(wish("a"))
            last = writer.submit(batch("b", 5))
        told(last)
    assert [(commit.commands, commit.succeeded) for commit in commits] == [(1, True), (6, True)]
    assert all(commit.seconds > 0 and commit.waited_seconds >= 0 for commit in commits)


def test_a_metric_that_fails_stops_nothing(watched: Watched) -> None:
    def broken(commit: Commit) -> None:
        raise ZeroDivisionError

    with GroupCommit(watched, observe=broken) as writer:
        assert [position_of(told(writer.submit(wish(key)))) for key in "ab"] == [1, 2]
