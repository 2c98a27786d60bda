"""`verify` finds nothing where all is well, and finds whatever somebody has tampered with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from typing import Any, LiteralString

import pytest
from psycopg import Connection, sql

from creditledger.domain import ids
from creditledger.infra.database import connect, connection_pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.proof import verify_ledger
from creditledger.projections import models_audit, verify
from creditledger.projections.appended_audit import AppendedAudit
from creditledger.projections.catalogue import PROJECTIONS
from creditledger.projections.entries import Entries
from creditledger.projections.verify import Report
from long_story import BEGINS_AT, LongStory
from read_models import catch_up

LATER = timedelta(days=60)

TABLES = (
    "ledger_events",
    "receipts",
    *(table for projection in PROJECTIONS for table in projection.tables),
)

#: How a stored event's state is changed: the event's position is given to each.
_SET_STATE = """
    UPDATE ledger_events
    SET state = convert_to(jsonb_set(convert_from(state, 'UTF8')::jsonb, {path}, {value})::text,
                           'UTF8')
    WHERE notification_id = %s
"""


@pytest.fixture(scope="module")
def story(shared_database_url: str) -> LongStory:
    """A story of some hundred events, with read models up to date."""
    with connection_pool(shared_database_url, "tests", size=2) as pool:
        story = LongStory(PostgresLedgerStore(pool), customers=3)
        story.go_on(500)
        catch_up(shared_database_url, EventLog(pool))
    return story


@pytest.fixture(scope="module")
def saved(shared_database_url: str, story: LongStory) -> None:
    """Copies of all tables of the story, to undo what a test has tampered with."""
    with connect(shared_database_url, "tests") as connection:
        connection.execute("CREATE SCHEMA saved")
        # So that a status can be changed to anything.
        connection.execute("ALTER TABLE holds DROP CONSTRAINT holds_status_check")
        for table in TABLES:
            copy = sql.SQL("CREATE TABLE saved.{} AS SELECT * FROM {}")
            connection.execute(copy.format(sql.Identifier(table), sql.Identifier(table)))


@pytest.fixture
def tampering(shared_database_url: str, saved: None) -> Iterator[Connection[Any]]:
    """A connection whose changes no trigger refuses, and which are undone in the end."""
    with connect(shared_database_url, "somebody") as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection
        for table in TABLES:
            columns = sql.SQL(", ").join(sql.Identifier(c) for c, _ in _columns(connection, table))
            restore = sql.SQL(
                "DELETE FROM {table}; INSERT INTO {table} ({columns})"
                " SELECT {columns} FROM saved.{table}"
            )
            connection.execute(restore.format(table=sql.Identifier(table), columns=columns))


def test_a_long_story_is_proved_while_read_models_are_behind(database_url: str) -> None:
    with connection_pool(database_url, "tests", size=2) as pool:
        story = LongStory(PostgresLedgerStore(pool))
        story.go_on(1_500)
        catch_up(database_url, EventLog(pool))
        story.go_on(500)
        head = EventLog(pool).head()
    report = verify_ledger(database_url, story.now + LATER)
    assert [str(difference) for difference in report.differences] == []
    assert report.clean
    assert report.position == head
    assert report.counts.events == report.position
    assert report.receipts == len(story.receipts)
    assert {model.name for model in report.models} == {p.name for p in PROJECTIONS}
    assert all(model.rows and model.position < report.position for model in report.models)


def test_models_are_compared_some_streams_at_a_time(
    shared_database_url: str,
    story: LongStory,
    tampering: Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = story.now + LATER
    tampering.execute("UPDATE entries SET amount = amount + 1 WHERE version % 7 = 0")
    tampering.execute("DELETE FROM holds WHERE number % 5 = 0")
    at_once = verify_ledger(shared_database_url, at)
    monkeypatch.setattr(models_audit, "_BATCH", 10)
    monkeypatch.setattr(models_audit, "_COMPARED_AS_BYTES", 25)
    assert at_once.differences_total > 10
    assert {str(d) for d in verify_ledger(shared_database_url, at).differences} == {
        str(d) for d in at_once.differences
    }


def test_receipts_are_read_some_ranges_at_a_time(
    shared_database_url: str,
    story: LongStory,
    tampering: Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = story.now + LATER
    tampering.execute("DELETE FROM receipts WHERE key LIKE '%3'")
    tampering.execute("UPDATE receipts SET position = 1 WHERE position > 300")
    at_once = verify_ledger(shared_database_url, at)
    assert at_once.differences_total > 10
    head = at_once.position
    for events in (1, head // 5):
        monkeypatch.setattr(verify, "_EVENTS_AT_ONCE", events)
        in_ranges = verify_ledger(shared_database_url, at)
        assert in_ranges.receipts == at_once.receipts
        assert {str(d) for d in in_ranges.differences} == {str(d) for d in at_once.differences}


def test_rows_that_are_only_added_agree_byte_by_byte(
    shared_database_url: str, story: LongStory
) -> None:
    entries = Entries()
    with (
        connection_pool(shared_database_url, "tests", size=1) as pool,
        EventLog(pool).frozen() as log,
        connect(shared_database_url, "tests") as connection,
    ):
        rows = chain.from_iterable(log.by_stream())
        events = [(row.position, row.event) for row in rows if row.event is not None]
        handled = entries.concerning(events)
        audit = AppendedAudit(
            connection, entries, [sql.Identifier(name) for name in entries.tables]
        )
        audit.build(handled)
        assert audit.rows > len(story.receipts)
        assert audit.agrees(sql.SQL("true"))
        assert audit.rows == 0
        for others in (handled[1:], [*handled, handled[0]], [*handled[1:], handled[1]], []):
            audit.build(others)
            assert not audit.agrees(sql.SQL("true"))
        assert audit.agrees(sql.SQL("false"))


def test_several_processes_find_what_one_finds(
    shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    at = story.now + LATER
    clean = verify_ledger(shared_database_url, at)
    assert verify_ledger(shared_database_url, at, processes=2) == clean
    tampering.execute("UPDATE lots SET remaining = remaining + 1")
    tampering.execute("UPDATE receipts SET position = 1 WHERE position > 400")
    tampering.execute("DELETE FROM ledger_events WHERE topic = 'creditledger.HoldEnded'")
    tampering.execute("DELETE FROM payments")
    alone = verify_ledger(shared_database_url, at)
    together = verify_ledger(shared_database_url, at, processes=2)
    assert together.differences_total == alone.differences_total
    assert {str(d) for d in together.differences} == {str(d) for d in alone.differences}
    assert (together.counts, together.models) == (alone.counts, alone.models)


def test_an_empty_ledger_is_proved(database_url: str) -> None:
    assert verify_ledger(database_url, BEGINS_AT).clean


# What was tampered with in the log. Each is told the position of an event of a class.

_A_TIME = "'\"2026-08-01T00:00:00Z\"'"

LOG_TAMPERINGS = {
    "an amount": ("Deducted", "'{amount}'", "'77'", "sum of lots and overage"),
    "a lot's amount": ("Deducted", "'{lots,0,amount}'", "'77'", "sum of lots and overage"),
    "a balance": ("Granted", "'{after,available}'", "'7777'", "total after it"),
    "what was held": ("Held", "'{after,held}'", "'7777'", "held after it"),
    "a split": (
        "Granted",
        "'{after}'",
        """(SELECT jsonb_build_object('available', (a->>'available')::int - 1, 'held', a->'held',
            'scheduled', (a->>'scheduled')::int + 1, 'debt', a->'debt', 'overage', a->'overage')
            FROM (SELECT convert_from(state, 'UTF8')::jsonb -> 'after' AS a) AS x)""",
        "balance after it",
    ),
    "a customer": ("Granted", "'{customer_id}'", "'\"mallory\"'", "customer_id"),
    "a stream": ("Held", "'{originator_version}'", "'9999'", "version in the event"),
    "a time": ("Held", "'{recorded_at}'", "'\"2026-01-01T00:00:00Z\"'", "recorded_at"),
    "a lot": ("Expired", "'{lots,0,grant_id}'", "'\"grt_\"'", "an event that can be"),
    "an expiry": ("Granted", "'{expires_at}'", "'\"2026-09-01T12:00:01Z\"'", ""),
    "a refund": ("Refunded", "'{amount}'", "'9999'", "sum of lots and overage"),
    "a debt": ("Revoked", "'{after,debt}'", "'7777'", "debt after it"),
    "a trail": ("DeductionRefunded", "'{refunded}'", "'9999'", "what became of it"),
    "a hold's end": (
        "HoldEnded",
        "'{how}'",
        """(CASE convert_from(state, 'UTF8')::jsonb ->> 'how'
            WHEN 'lapsed' THEN '"released"' ELSE '"lapsed"' END)::jsonb""",
        "what became of it",
    ),
    "a grant's trail": ("GrantRevised", "'{revoked}'", "'9999'", "what became of it"),
    "a payment's grant": ("PaymentGranted", "'{grants,0,amount}'", "'9999'", "its grant"),
    "a payment's refunds": ("RefundTotalReported", "'{refunded}'", "'9999'", "refunded in all"),
    "a refund's sum": ("RefundTotalReported", "'{total,amount}'", "'1'", "for a target of"),
    "a payment's disputes": ("DisputeReported", "'{disputed}'", "'7777'", "disputed in all"),
    "a dispute's sum": ("DisputeReported", "'{amount,amount}'", "'1'", "for a target of"),
    "what was removed": ("RemovalSet", "'{removed,0,amount}'", "'3'", "removed by it"),
    "what a period left": ("PaymentReallotted", "'{grants,0,withdrawn}'", "'3'", "is allotted"),
    "what was withdrawn": ("PaymentReallotted", "'{grants,0,withdrawn}'", "'9999'", "withdrawn"),
    "a grant's period": ("PaymentGranted", "'{grants,0,period_end}'", _A_TIME, "is allotted"),
    "a bill": ("PeriodBilled", "'{lines,0,credits}'", "'9'", "pays for"),
    "a bill's payment": ("PeriodBilled", "'{provider_id}'", "'\"in_none\"'", "that was granted"),
    "a bill's period": ("PeriodBilled", "'{period_end}'", _A_TIME, "the id of what it is about"),
    "which report stands": (
        "SubscriptionReported",
        "'{stands}'",
        "to_jsonb(NOT (convert_from(state, 'UTF8')::jsonb ->> 'stands')::boolean)",
        "whether it is the newest report",
    ),
    "a subscription's name": (
        "SubscriptionReported",
        "'{subscription_id}'",
        "'\"sub_other\"'",
        "the id of what it is about",
    ),
    "a price's name": ("PriceReported", "'{price_id}'", "'\"other\"'", "the id of what it is"),
    "a product's name": ("ProductReported", "'{product_id}'", "'\"other\"'", "the id of what"),
    "who was told": (
        "Deducted",
        "'{context,causation_id}'",
        "'\"rcp_00000000000000000000000001\"'",
        "because events name it",
    ),
}


@pytest.mark.parametrize("what", LOG_TAMPERINGS)
def test_an_event_that_was_changed_is_found(
    what: str, shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    topic, path, value, said = LOG_TAMPERINGS[what]
    position = _position_of(tampering, topic)
    statement = _SET_STATE.format(path=path, value=value)
    assert tampering.execute(statement, (position,)).rowcount == 1
    report = verify_ledger(shared_database_url, story.now + LATER)
    assert not report.clean
    assert said in _said(report)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE ledger_events SET recorded_at = recorded_at - interval '9 days'", "recorded_at"),
        ("UPDATE ledger_events SET topic = 'creditledger.Granted'", "can be read"),
        ("UPDATE ledger_events SET topic = 'creditledger.Unheard'", "no event class has the topic"),
        ("UPDATE ledger_events SET state = 'nonsense'", "can be read"),
        ("UPDATE ledger_events SET state = '{}'", "can be read"),
        ("UPDATE ledger_events SET notification_id = 1000000", "comes after"),
        ("UPDATE ledger_events SET originator_version = 1000000", "version"),
        ("DELETE FROM ledger_events", "comes after"),
    ],
)
def test_a_row_of_the_log_that_was_changed_is_found(
    statement: str,
    said: str,
    shared_database_url: str,
    story: LongStory,
    tampering: Connection[Any],
) -> None:
    position = _position_of(tampering, "Held")
    tampering.execute(f"{statement} WHERE notification_id = %s", (position,))
    assert said in _said(verify_ledger(shared_database_url, story.now + LATER))


def test_an_end_of_the_log_that_is_gone_is_found(
    shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    head = tampering.execute("SELECT max(notification_id) FROM ledger_events").fetchone()
    assert head is not None
    tampering.execute("DELETE FROM ledger_events WHERE notification_id > %s", (head[0] - 40,))
    said = _said(verify_ledger(shared_database_url, story.now + LATER))
    assert "a position in the log" in said
    assert "the log ends at position" in said


def test_a_trail_without_its_account_is_found(
    shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    tampering.execute(
        """
        INSERT INTO ledger_events
        SELECT moved.stream, 1, topic,
            convert_to(jsonb_set(convert_from(state, 'UTF8')::jsonb, '{originator_id}',
                to_jsonb(moved.stream::text))::text, 'UTF8'),
            (SELECT max(notification_id) + 1 FROM ledger_events), recorded_at
        FROM ledger_events, (SELECT gen_random_uuid() AS stream) AS moved
        WHERE topic = 'creditledger.HoldEnded' LIMIT 1
        """
    )
    assert "trails that an account's events ask for" in _said(
        verify_ledger(shared_database_url, story.now + LATER)
    )


@pytest.mark.parametrize(("status", "clean"), [("captured", True), ("released", False)])
def test_older_logs_say_of_a_captured_hold_that_it_was(
    status: str,
    clean: bool,
    shared_database_url: str,
    story: LongStory,
    tampering: Connection[Any],
) -> None:
    row = tampering.execute("SELECT account_id, number FROM holds WHERE status = %s", (status,))
    account, number = row.fetchall()[0]
    trail = ids.trail_id(ids.event_id(ids.HOLD, ids.stream_key(account), number))
    tampering.execute("DELETE FROM ledger_events WHERE originator_id = %s", (trail,))
    tampering.execute(
        """
        INSERT INTO ledger_events
        SELECT %(trail)s, 1, topic,
            convert_to((convert_from(state, 'UTF8')::jsonb || jsonb_build_object(
                'how', 'captured', 'originator_id', %(trail)s::text,
                -- No receipt, which would have to stand after it.
                'context', json_build_object('actor', 'system:time', 'causation_id', 'time',
                                             'correlation_id', 'time')))::text, 'UTF8'),
            (SELECT max(notification_id) + 1 FROM ledger_events), recorded_at
        FROM ledger_events WHERE topic = 'creditledger.HoldEnded'
        ORDER BY notification_id LIMIT 1
        """,
        {"trail": trail},
    )
    report = verify_ledger(shared_database_url, story.now + LATER)
    assert ("what became of it" in _said(report)) is not clean
    assert report.clean is clean


def test_a_transfer_that_came_from_nowhere_is_found(
    shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    tampering.execute(
        """
        UPDATE ledger_events
        SET state = convert_to(jsonb_set(convert_from(state, 'UTF8')::jsonb, '{transfer_to}',
                                         'null')::text, 'UTF8')
        WHERE notification_id = (
            SELECT min(position) FROM ledger_log WHERE state ->> 'transfer_to' IS NOT NULL)
        """
    )
    said = _said(verify_ledger(shared_database_url, story.now + LATER))
    assert "amount, receiver and asset that were sent" in said
    assert "transfers received" in said


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        pytest.param(
            """
            UPDATE ledger_events
            SET topic = 'creditledger.PaymentTied',
                state = convert_to((convert_from(state, 'UTF8')::jsonb
                                    || '{"pays": "in_none"}')::text, 'UTF8')
            WHERE notification_id = (
                SELECT max(position) FROM ledger_log WHERE topic = 'creditledger.PaymentRecorded')
            """,
            "events of what is tied to a payment",
            id="a payment that is none of its own",
        ),
        pytest.param(
            """
            DELETE FROM ledger_events WHERE notification_id = (
                SELECT max(position) FROM ledger_log WHERE topic = 'creditledger.PeriodBilled')
            """,
            "periods that payments pay for",
            id="a bill that is gone",
        ),
        pytest.param(
            """
            DELETE FROM ledger_events WHERE notification_id = (
                SELECT max(position) FROM ledger_log WHERE topic = 'creditledger.RemovalSet')
            """,
            "removed by it",
            id="a removal that is gone",
        ),
        pytest.param(
            """
            UPDATE ledger_events
            SET state = convert_to(jsonb_set(convert_from(state, 'UTF8')::jsonb, '{as_of}',
                                             '"2020-01-01T00:00:00Z"')::text, 'UTF8')
            WHERE notification_id = (SELECT max(position) FROM ledger_log
                WHERE topic = 'creditledger.PriceReported' AND version > 1)
            """,
            "older than the report that it takes the place of",
            id="a price's older report",
        ),
        pytest.param(
            """
            WITH one AS (SELECT stream, version, state FROM ledger_log
                WHERE topic = 'creditledger.SubscriptionReported' AND version > 1
                ORDER BY position LIMIT 1)
            UPDATE ledger_events
            SET state = convert_to((convert_from(ledger_events.state, 'UTF8')::jsonb
                || jsonb_build_object('as_of', before.state -> 'as_of',
                                      'state', before.state -> 'state'))::text, 'UTF8')
            FROM one JOIN ledger_log AS before
                ON before.stream = one.stream AND before.version = one.version - 1
            WHERE originator_id = one.stream AND originator_version = one.version
            """,
            "a report is told twice",
            id="a report that was told before",
        ),
    ],
)
def test_what_providers_told_and_somebody_changed_is_found(
    statement: str,
    said: str,
    shared_database_url: str,
    story: LongStory,
    tampering: Connection[Any],
) -> None:
    assert tampering.execute(statement).rowcount == 1
    assert said in _said(verify_ledger(shared_database_url, story.now + LATER))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM receipts", "because events name it"),
        ("UPDATE receipts SET outcome = 'insufficient_credits'", "events of a refused command"),
        ("UPDATE receipts SET key = 'another'", "the id of its client and key"),
        ("UPDATE receipts SET position = 1", "up to its position"),
        ("UPDATE receipts SET position = 1000000", "a position in the log"),
        ("UPDATE receipts SET position = -1", "a position in the log"),
        (
            """UPDATE receipts SET answer = convert_to(jsonb_set(
                convert_from(answer, 'UTF8')::jsonb, '{amount}', '9999')::text, 'UTF8')""",
            "amount that was told",
        ),
        ("UPDATE receipts SET answer = 'nonsense'", "its answer can be read"),
    ],
)
def test_a_receipt_that_was_changed_is_found(
    statement: str,
    said: str,
    shared_database_url: str,
    story: LongStory,
    tampering: Connection[Any],
) -> None:
    told = next(r for r in story.receipts[50:] if (r.command, r.outcome) == ("deduct", "accepted"))
    tampering.execute(f"{statement} WHERE receipt_id = %s", (told.id,))
    assert said in _said(verify_ledger(shared_database_url, story.now + LATER))


def test_a_receipt_that_ends_before_the_last_of_its_events_is_found(
    shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    captured = next(r for r in story.receipts if (r.command, r.outcome) == ("capture", "accepted"))
    tampering.execute(
        "UPDATE receipts SET position = position - 1 WHERE receipt_id = %s", (captured.id,)
    )
    said = _said(verify_ledger(shared_database_url, story.now + LATER))
    assert "its events up to its position" in said


def test_an_answer_that_names_what_another_one_told_is_found(
    shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    deducted = [r for r in story.receipts if (r.command, r.outcome) == ("deduct", "accepted")]
    one, other = deducted[:2]
    tampering.execute(
        """UPDATE receipts SET answer = (SELECT answer FROM receipts WHERE receipt_id = %s)
           WHERE receipt_id = %s""",
        (one.id, other.id),
    )
    report = verify_ledger(shared_database_url, story.now + LATER)
    assert any(difference.model == "receipts" for difference in report.differences)


def test_an_answer_without_events_is_found(
    shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    refused = next(r for r in story.receipts if r.outcome == "insufficient_credits")
    tampering.execute(
        "UPDATE receipts SET outcome = 'accepted' WHERE receipt_id = %s", (refused.id,)
    )
    said = _said(verify_ledger(shared_database_url, story.now + LATER))
    assert "its events: expected at least one, found none" in said


# What was tampered with in read models.

_CHANGES: dict[str, LiteralString] = {
    "int8": "{} + 1000000",
    "int4": "{} + 1000000",
    "text": "{} || 'x'",
    "timestamptz": "{} + interval '1 second'",
    "jsonb": "coalesce({}, '0') || '[1]'",
    "bool": "NOT {}",
    "uuid": "gen_random_uuid()",
    "status": "CASE WHEN {} IN ('open', 'paid') THEN 'refunded' ELSE 'paid' END",
}


def test_every_column_of_every_read_model_is_compared(
    shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    tampered = set()
    for projection in PROJECTIONS:
        for table in projection.tables:
            for number, (column, kind) in enumerate(_columns(tampering, table, keys=False)):
                if _tamper(tampering, table, column, kind, number):
                    tampered.add((projection.name, table, column))
    assert len(tampered) > 70
    report = verify_ledger(shared_database_url, story.now + LATER)
    found = {(d.model, d.place.split()[0], d.what) for d in report.differences}
    assert tampered - found == set()


@pytest.mark.parametrize("table", TABLES[2:])
def test_a_row_that_is_gone_is_found(
    table: str, shared_database_url: str, story: LongStory, tampering: Connection[Any]
) -> None:
    name = sql.Identifier(table)
    deleted = tampering.execute(
        sql.SQL("DELETE FROM {} WHERE ctid = (SELECT min(ctid) FROM {})").format(name, name)
    )
    assert deleted.rowcount == 1
    assert "row: expected a row, found none" in _said(
        verify_ledger(shared_database_url, story.now + LATER)
    )


def _position_of(connection: Connection[Any], event: str) -> int:
    """The position of an event of this class in the midst of the story, with a lot of its own."""
    rows = connection.execute(
        """
        SELECT position FROM ledger_log
        WHERE topic = 'creditledger.' || %s AND coalesce(state ->> 'overage', '0') = '0'
          AND version > (topic LIKE '%%Granted')::int
          AND jsonb_array_length(coalesce(state -> 'lots', '[0]')) > 0
        ORDER BY position
        """,
        (event,),
    ).fetchall()
    return int(rows[len(rows) // 2][0])


def _columns(
    connection: Connection[Any], table: str, *, keys: bool = True
) -> list[tuple[str, str]]:
    """Columns that are written, with their types; with or without those of the primary key."""
    return connection.execute(
        """
        SELECT attname, typname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
        WHERE attrelid = %(table)s::regclass
          AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
          AND (%(keys)s OR attnum <> ALL (SELECT unnest(indkey) FROM pg_index
                                          WHERE indrelid = attrelid AND indisprimary))
        ORDER BY attnum
        """,
        {"table": table, "keys": keys},
    ).fetchall()


def _tamper(connection: Connection[Any], table: str, column: str, kind: str, number: int) -> bool:
    """Change a column in one row, a different row for each column; tell whether there was one."""
    name, changed = sql.Identifier(table), sql.Identifier(column)
    value = sql.SQL(_CHANGES[column if column in _CHANGES else kind]).format(changed)
    done = connection.execute(
        sql.SQL(
            "UPDATE {table} SET {column} = {value} WHERE ctid = (SELECT ctid FROM {table}"
            " WHERE {column} IS NOT NULL ORDER BY ctid OFFSET {offset} LIMIT 1)"
        ).format(table=name, column=changed, value=value, offset=sql.Literal(number % 5))
    )
    return done.rowcount == 1


def _said(report: Report) -> str:
    return "\n".join(str(difference) for difference in report.differences)
