"""Projections that run: alone or several at once, through poison, interruptions and rebuilds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from threading import Event as Signal
from threading import Thread
from typing import Any, ClassVar

import pytest
from psycopg import Connection, Cursor, sql

from creditledger.domain.amounts import Credits
from creditledger.domain.commands import DeductCredits, GrantCredits
from creditledger.infra.database import Pool, connect, connection_pool
from creditledger.infra.event_log import EventLog, Page
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.proof import verify_ledger
from creditledger.infra.read_side import rebuild_projections, start_projection
from creditledger.projections.balances import Balances
from creditledger.projections.catalogue import PROJECTIONS
from creditledger.projections.entries import Entries
from creditledger.projections.projection import Projection, Recorded
from creditledger.projections.rebuild import RebuildRefused, rebuild
from creditledger.projections.runner import PoisonedEvent, start_all
from long_story import LongStory
from read_models import await_unlocked, catch_up, catch_up_one

PATIENCE_SECONDS = 20.0


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    with connection_pool(database_url, "tests", size=6) as pool:
        yield pool


@pytest.fixture
def looking(database_url: str) -> Iterator[Connection[Any]]:
    with connect(database_url, "looking") as connection:
        yield connection


class Counting(EventLog):
    """Remembers from where on it was read."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.read_from: list[int] = []

    def read(self, after: int, limit: int, **filters: Any) -> Page:
        """The page, as ever."""
        self.read_from.append(after)
        return super().read(after, limit, **filters)


@contextmanager
def running(
    url: str, log: EventLog, projections: Sequence[Projection] = PROJECTIONS, name: str = "worker"
) -> Iterator[Signal]:
    """A worker's projections, until the block ends."""
    signal = Signal()
    thread = start_all(projections, partial(connect, url, name), log, signal)
    try:
        yield signal
    finally:
        signal.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that must come true soon."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def position(connection: Connection[Any], name: str) -> int:
    row = connection.execute("SELECT position FROM projections WHERE name = %s", (name,)).fetchone()
    return -1 if row is None else int(row[0])


def is_at(connection: Connection[Any], name: str, wanted: int) -> bool:
    return position(connection, name) == wanted


def is_stopped(connection: Connection[Any], name: str) -> bool:
    return bool(status(connection, name)[0] == "stopped")


def all_at(connection: Connection[Any], head: int) -> bool:
    return all(position(connection, projection.name) == head for projection in PROJECTIONS)


def status(connection: Connection[Any], name: str) -> tuple[Any, ...]:
    row = connection.execute(
        "SELECT status, error_position, error_event_id, error FROM projections WHERE name = %s",
        (name,),
    ).fetchone()
    assert row is not None
    return tuple(row)


# Following.


def test_all_read_models_follow_the_log_while_it_grows(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    story.go_on(100)
    with running(database_url, log):
        for _ in range(5):
            story.go_on(100)
            until(lambda: all_at(looking, log.head()))
    report = verify_ledger(database_url, story.now)
    assert [str(difference) for difference in report.differences] == []


def test_the_log_is_read_once_for_all_and_again_for_those_behind_alone(
    database_url: str, story: LongStory, pool: Pool, looking: Connection[Any]
) -> None:
    log = Counting(pool)
    story.go_on(100)
    behind = log.head()
    with connect(database_url, "tests") as connection:
        catch_up_one(connection, Balances(), log)
    story.go_on(100)
    log.read_from.clear()
    with running(database_url, log):
        until(lambda: all_at(looking, log.head()))
    # All but one from the beginning to where that one stands, and on from there together.
    assert log.read_from[:2] == [0, behind]
    assert log.read_from.count(0) == log.read_from.count(behind) == 1
    assert verify_ledger(database_url, story.now).clean


def test_a_worker_whose_projections_have_all_stopped_takes_up_the_one_that_is_started(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    with running(database_url, log, [Balances()]):
        until(lambda: position(looking, "balances") == log.head())
        looking.execute("UPDATE projections SET status = 'stopped'")
        time.sleep(1)
        story.go_on(60)
        assert position(looking, "balances") < log.head()
        start_projection(database_url, "balances")
        until(lambda: position(looking, "balances") == log.head())


def test_news_arrives_in_milliseconds_not_at_the_next_look(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    with running(database_url, log, [Balances()]):
        until(lambda: position(looking, "balances") == log.head())
        waits = []
        for _ in range(20):
            story.tell(GrantCredits(customer_id="ada", amount=Credits(1)))
            head, began = log.head(), time.monotonic()
            until(partial(is_at, looking, "balances", head))
            waits.append(time.monotonic() - began)
    # Looking once in half a second would take a quarter of one in the middle.
    assert sorted(waits)[len(waits) // 2] < 0.1


def test_a_second_worker_stands_by_and_takes_over(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    with running(database_url, log, name="first") as first:
        until(lambda: all_at(looking, log.head()))
        with running(database_url, log, name="second"):
            story.go_on(100)
            until(lambda: all_at(looking, log.head()))
            first.set()
            story.go_on(100)
            until(lambda: all_at(looking, log.head()))
    assert verify_ledger(database_url, story.now).clean


def test_a_lost_connection_is_made_again(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    with running(database_url, log, name="worker"):
        for _ in range(3):
            story.go_on(60)
            until(lambda: all_at(looking, log.head()))
            looking.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'worker' AND datname = current_database()"
            )
        story.go_on(60)
        until(lambda: all_at(looking, log.head()))
    assert verify_ledger(database_url, story.now).clean


# Poison.


class Squeamish(Entries):
    """Entries that cannot stand a certain event, as long as `poison` says so."""

    poison: ClassVar[int | None] = None

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        if any(position == self.poison for position, _ in events):
            raise ValueError("this is too much")
        super().handle(cursor, events)


@pytest.fixture
def squeamish(story: LongStory) -> Iterator[type[Squeamish]]:
    Squeamish.poison = 31
    yield Squeamish
    Squeamish.poison = None


def test_a_poisoned_event_stops_its_projection_alone_and_says_which(
    database_url: str,
    story: LongStory,
    log: EventLog,
    looking: Connection[Any],
    squeamish: type[Squeamish],
) -> None:
    story.tell(GrantCredits(customer_id="ada", amount=Credits(1_000)))
    while log.head() < 60:
        story.tell(DeductCredits(customer_id="ada", amount=Credits(1)))
    projections = [squeamish(), Balances()]
    with running(database_url, log, projections):
        until(lambda: position(looking, "balances") == log.head())
        until(lambda: status(looking, "entries")[0] == "stopped")
        stopped, at, event_id, error = status(looking, "entries")
        assert (stopped, at, position(looking, "entries")) == ("stopped", 31, 30)
        assert event_id.startswith("evt_")
        assert "position 31" in error
        assert "ValueError: this is too much" in error
        count = looking.execute("SELECT max(position) FROM entries").fetchone()
        assert count == (30,)
        # Told to start, it tries again; with the cause gone, it goes on.
        assert start_projection(database_url, "entries")
        until(lambda: status(looking, "entries")[0] == "stopped")
        squeamish.poison = None
        assert start_projection(database_url, "entries")
        until(lambda: position(looking, "entries") == log.head())
        assert not start_projection(database_url, "entries")
    assert status(looking, "entries") == ("running", None, None, None)


def test_a_worker_that_starts_gives_a_stopped_projection_another_try(
    database_url: str, log: EventLog, looking: Connection[Any], squeamish: type[Squeamish]
) -> None:
    story = LongStory(PostgresLedgerStore(log._pool))
    story.go_on(60)
    with running(database_url, log, [squeamish()]):
        until(
            lambda: position(looking, "entries") >= 0 and status(looking, "entries")[0] == "stopped"
        )
    squeamish.poison = None
    with running(database_url, log, [squeamish()]):
        until(lambda: position(looking, "entries") == log.head())


def test_an_event_that_cannot_be_read_stops_every_projection_before_it(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    story.go_on(60)
    looking.execute("SET session_replication_role = replica")
    looking.execute(
        "UPDATE ledger_events SET topic = 'creditledger.Unheard' WHERE notification_id = 41"
    )
    with running(database_url, log):
        for projection in PROJECTIONS:
            until(partial(is_at, looking, projection.name, 40))
            until(partial(is_stopped, looking, projection.name))
            _, at, _, error = status(looking, projection.name)
            assert at == 41
            assert "creditledger.Unheard" in error


def test_events_that_a_projection_neither_handles_nor_ignores_stop_it(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    class Narrow(Balances):
        ignores = ()

    with running(database_url, log, [Narrow()]):
        until(lambda: position(looking, "balances") == 0)
        until(lambda: status(looking, "balances")[0] == "stopped")
    assert "neither handles nor ignores PriceSet" in status(looking, "balances")[3]


def test_rows_of_another_version_stop_a_projection_until_it_is_rebuilt(
    database_url: str,
    story: LongStory,
    log: EventLog,
    looking: Connection[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Newer(Balances):
        version = 2

    story.go_on(60)
    catch_up(database_url, log)
    story.go_on(60)
    with running(database_url, log, [Newer()]):
        until(lambda: status(looking, "balances")[0] == "stopped")
        what_to_do = "creditledger projections rebuild balances"
        assert what_to_do in status(looking, "balances")[3]
        assert [what_to_do in line for line in caplog.messages] == [True], "said once"
        rebuild([Newer()], partial(connect, database_url, "tests"), log, _no_progress)
        story.go_on(60)
        until(lambda: position(looking, "balances") == log.head())
    assert status(looking, "balances")[0] == "running"


def test_every_projection_covers_every_event() -> None:
    from creditledger.infra.mapper import EVENT_CLASSES

    for projection in PROJECTIONS:
        assert set(projection.handles) | set(projection.ignores) >= set(EVENT_CLASSES)


# Rebuilding.


def _no_progress(position: int, newest: int) -> None:
    pass


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
def test_a_rebuild_comes_to_the_same_rows_and_the_same_tables(
    projection: Projection, database_url: str, story: LongStory, log: EventLog, looking: Any
) -> None:
    story.go_on(400)
    catch_up(database_url, log)
    before = {table: (_rows(looking, table), _shape(looking, table)) for table in projection.tables}
    assert any(rows for rows, _ in before.values())
    told: list[tuple[int, int]] = []
    reached = rebuild_projections(
        database_url, [projection.name], lambda *progress: told.append(progress)
    )
    after = {table: (_rows(looking, table), _shape(looking, table)) for table in projection.tables}
    assert after == before
    assert (reached, told[-1]) == ({projection.name: log.head()}, (log.head(), log.head()))
    assert not _side_schemas(looking)
    assert verify_ledger(database_url, story.now).clean


def test_rebuilding_all_reads_the_log_once_and_comes_to_the_same_rows(
    database_url: str, story: LongStory, pool: Pool, log: EventLog, looking: Connection[Any]
) -> None:
    counting = Counting(pool)
    story.go_on(400)
    catch_up(database_url, log)
    tables = [table for projection in PROJECTIONS for table in projection.tables]
    before = {table: _rows(looking, table) for table in tables}
    connecting = partial(connect, database_url, "tests")
    reached = rebuild(PROJECTIONS, connecting, counting, _no_progress)
    assert {table: _rows(looking, table) for table in tables} == before
    assert reached == {projection.name: log.head() for projection in PROJECTIONS}
    assert counting.read_from.count(0) == 1
    assert not _side_schemas(looking)


def test_poison_for_one_rebuild_leaves_the_others_alone(
    database_url: str,
    story: LongStory,
    log: EventLog,
    looking: Connection[Any],
    squeamish: type[Squeamish],
) -> None:
    story.go_on(100)
    catch_up(database_url, log)
    balances, entries = (_oid(looking, table) for table in ("lots", "entries"))
    connecting = partial(connect, database_url, "tests")
    with pytest.raises(PoisonedEvent, match="entries cannot get past position 31"):
        rebuild([squeamish(), Balances()], connecting, log, _no_progress)
    assert _oid(looking, "lots") != balances
    assert _oid(looking, "entries") == entries
    assert not _side_schemas(looking)
    assert verify_ledger(database_url, story.now).clean


def test_reads_never_fail_or_go_empty_during_rebuilds_and_writes(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    story.go_on(300)
    stop = Signal()
    faults: list[Exception] = []

    def read() -> None:
        query = (
            "SELECT (SELECT count(*) FROM lots), (SELECT count(*) FROM accounts),"
            " (SELECT position FROM projections WHERE name = 'balances')"
        )
        try:
            with connect(database_url, "reader") as connection:
                last = (0, 0, 0)
                while not stop.is_set():
                    row = connection.execute(query, prepare=True).fetchone()
                    assert row is not None
                    assert all(now >= before for now, before in zip(row, last, strict=True)), (
                        row,
                        last,
                    )
                    last = row
        except Exception as fault:  # noqa: BLE001 - whatever it is, the test tells it
            faults.append(fault)

    with running(database_url, log):
        until(lambda: all_at(looking, log.head()))
        readers = [Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for _ in range(4):
            story.go_on(100)
            rebuild_projections(database_url, ["balances"], _no_progress)
        story.go_on(100)
        until(lambda: all_at(looking, log.head()))
        stop.set()
        for reader in readers:
            reader.join(PATIENCE_SECONDS)
    assert faults == []
    assert verify_ledger(database_url, story.now).clean


def test_a_ledger_is_proved_while_all_of_it_moves(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    story.go_on(200)
    stop = Signal()

    def write() -> None:
        while not stop.is_set():
            story.go_on(20)

    def rebuild_all() -> None:
        while not stop.is_set():
            for projection in PROJECTIONS[:3]:
                rebuild_projections(database_url, [projection.name], _no_progress)

    with running(database_url, log):
        movers = [Thread(target=write), Thread(target=rebuild_all)]
        for mover in movers:
            mover.start()
        reports = [verify_ledger(database_url, story.now + timedelta(days=90)) for _ in range(4)]
        stop.set()
        for mover in movers:
            mover.join(PATIENCE_SECONDS)
        until(lambda: all_at(looking, log.head()))
    assert [str(d) for report in reports for d in report.differences] == []
    assert reports[-1].position > reports[0].position
    assert verify_ledger(database_url, story.now).clean


def test_a_rebuild_that_is_interrupted_leaves_the_live_rows_and_can_be_started_again(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    story.go_on(200)
    catch_up(database_url, log)
    before = _rows(looking, "lots")

    def interrupt(position: int, newest: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild_projections(database_url, ["balances"], interrupt)
    assert _rows(looking, "lots") == before
    assert not _side_schemas(looking)
    await_unlocked(looking)

    def kill(position: int, newest: int) -> None:
        looking.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'victim' AND datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )

    with pytest.raises(Exception, match=r"terminat|closed"):
        rebuild([Balances()], partial(connect, database_url, "victim"), log, kill)
    assert _rows(looking, "lots") == before
    assert _side_schemas(looking)
    await_unlocked(looking)
    rebuild_projections(database_url, ["balances"], _no_progress)
    assert _rows(looking, "lots") == before
    assert not _side_schemas(looking)


def test_only_one_rebuild_of_a_projection_runs_at_a_time(
    database_url: str, story: LongStory, log: EventLog
) -> None:
    refused: list[bool] = []

    def again(position: int, newest: int) -> None:
        if not refused:
            with pytest.raises(RebuildRefused, match="under way"):
                rebuild_projections(database_url, ["balances"], _no_progress)
            refused.append(True)

    rebuild_projections(database_url, ["balances"], again)
    assert refused


def test_a_rebuild_that_meets_poison_says_so_and_leaves_the_live_rows(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    story.go_on(100)
    catch_up(database_url, log)
    before = _rows(looking, "entries")
    Squeamish.poison = 31
    try:
        with pytest.raises(PoisonedEvent, match="position 31"):
            rebuild([Squeamish()], partial(connect, database_url, "tests"), log, _no_progress)
    finally:
        Squeamish.poison = None
    assert _rows(looking, "entries") == before
    assert status(looking, "entries")[0] == "running"


def test_a_rebuild_waits_with_its_swap_for_a_long_query(
    database_url: str, story: LongStory, log: EventLog, looking: Connection[Any]
) -> None:
    story.go_on(100)
    catch_up(database_url, log)
    done = Signal()

    def write_on(position: int, newest: int) -> None:
        # The live rows move on, so that the swap has something left to handle, each time.
        if log.head() < 1_000:
            story.go_on(40)
            catch_up(database_url, log)

    def work() -> None:
        rebuild_projections(database_url, ["balances"], write_on)
        done.set()

    with connect(database_url, "long query") as long:
        with long.transaction():
            long.execute("SELECT count(*) FROM lots")
            thread = Thread(target=work)
            thread.start()
            assert not done.wait(1.5)
            # Meanwhile nobody else waits for long.
            began = time.monotonic()
            looking.execute("SELECT count(*) FROM lots")
            assert time.monotonic() - began < 0.5
        thread.join(PATIENCE_SECONDS)
    assert done.is_set()
    catch_up(database_url, log)
    assert verify_ledger(database_url, story.now).clean


def _rows(connection: Connection[Any], table: str) -> list[tuple[Any, ...]]:
    return sorted(
        connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall(),
        key=repr,
    )


def _shape(connection: Connection[Any], table: str) -> list[tuple[Any, ...]]:
    """Columns, indexes and constraints, with their names."""
    return connection.execute(
        """
        SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, attgenerated::text,
            (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
             WHERE adrelid = attrelid AND adnum = attnum)
        FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attnum > 0
        UNION ALL
        SELECT pg_get_indexdef(indexrelid), '', indisprimary, '', ''
        FROM pg_index WHERE indrelid = %(table)s::regclass
        UNION ALL
        SELECT conname::text, pg_get_constraintdef(oid), true, '', ''
        FROM pg_constraint WHERE conrelid = %(table)s::regclass
        UNION ALL
        SELECT 'options', reloptions::text, true, '', ''
        FROM pg_class WHERE oid = %(table)s::regclass
        ORDER BY 1, 2
        """,
        {"table": table},
    ).fetchall()


def _oid(connection: Connection[Any], table: str) -> int:
    """Which table it is that has this name now."""
    row = connection.execute("SELECT %s::regclass::oid::int", (table,)).fetchone()
    assert row is not None
    return int(row[0])


def _side_schemas(connection: Connection[Any]) -> list[Any]:
    return connection.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname LIKE '%rebuild%'"
    ).fetchall()
