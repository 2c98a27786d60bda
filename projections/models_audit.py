"""Compares read models with the log, each at its own checkpoint.

All are built once more from the log, in temporary tables, and compared with the live ones in the
database. Where a model's rows follow from one stream each, that is done for some streams at a
time, on the way through the log; the others are built in the log's order. Where rows are only ever
added, their bytes are compared first, and tables are built only for streams where these differ.
Balances are held against the domain's own fold besides, which shares nothing with their handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import dict_row

from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.events import Event
from creditledger.projections.appended_audit import AppendedAudit
from creditledger.projections.balances import READ_ACCOUNTS, account_of
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.frozen_log import Stored
from creditledger.projections.projection import AppendedProjection, Projection, Recorded
from creditledger.projections.runner import PASSING, prepare

#: Events that are built from and compared at a time.
_BATCH: Final = 20_000

#: Events whose rows are compared as bytes at a time, some 40 MB: each reading comes by most of a
#: table's pages.
_COMPARED_AS_BYTES: Final = 100_000

#: Accounts that are held against their rows at a time.
_ACCOUNTS: Final = 500

# The columns of a table's primary key, in its order, and whether they are uuids.
_KEY: Final = """
    SELECT attname, atttypid = 'uuid'::regtype
    FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
    WHERE indrelid = %s::regclass AND indisprimary
    ORDER BY array_position(indkey::int2[], attnum)
"""

# Rows of a temporary table and of the live one that differ, or have no counterpart.
_DIFFERENT: Final = """
    SELECT to_jsonb(want), to_jsonb(have)
    FROM pg_temp.{table} AS want
    FULL JOIN (SELECT * FROM {home}.{table} WHERE {within}) AS have ON {same_key}
    WHERE want IS DISTINCT FROM have
"""


class Streams(NamedTuple):
    """Streams by their ids: from `first` on, up to and without `beyond`, or all others."""

    first: UUID = UUID(int=0)
    beyond: UUID | None = None


class _Table(NamedTuple):
    """A table of a read model and the columns of its primary key: whether each is a uuid."""

    model: str
    name: str
    key: Mapping[str, bool]

    def witness(self, row: Mapping[str, Any], findings: Findings) -> Witness:
        """Tells of one of its rows."""
        shown = " ".join(
            ids.stream_key(UUID(row[name])) if is_uuid else str(row[name])
            for name, is_uuid in self.key.items()
        )
        whose = (row.get("customer_id"), row.get("asset"))
        return Witness(findings, self.model, f"{self.name} {shown}", *whose)

    def different(self, home: str, within: Streams, column: str | None) -> sql.Composed:
        """The statement that finds the rows that differ, of these streams."""
        return sql.SQL(_DIFFERENT).format(
            table=sql.Identifier(self.name),
            home=sql.Identifier(home),
            within=_within(column, within),
            same_key=sql.SQL(" AND ").join(map(_same, self.key)),
        )


def _within(column: str | None, streams: Streams) -> sql.Composable:
    if column is None:
        return sql.SQL("true")
    name = sql.Identifier(column)
    least = sql.SQL("{} >= {}").format(name, sql.Literal(streams.first))
    if streams.beyond is None:
        return least
    return sql.SQL("{} AND {} < {}").format(least, name, sql.Literal(streams.beyond))


def _same(column: str) -> sql.Composable:
    return sql.SQL("want.{key} = have.{key}").format(key=sql.Identifier(column))


class _Chosen:
    """Events, of which those that concern the same kinds of read models are chosen once."""

    def __init__(self, events: Sequence[Recorded]) -> None:
        self.events = events
        self._kinds = {type(event) for _, event in events}
        self._chosen: dict[frozenset[type[Event]], Sequence[Recorded]] = {}

    def of(self, projection: Projection) -> Sequence[Recorded]:
        """Those that a projection handles. Raises UnknownEvent."""
        kinds = projection.concerned(self._kinds)
        if kinds not in self._chosen:
            self._chosen[kinds] = [each for each in self.events if type(each[1]) in kinds]
        return self._chosen[kinds]


class ModelsAudit:
    """Builds read models once more and compares them, a part after the other.

    `connection` is in a transaction that sees the live models as they stand at their `marks`, and
    may make temporary tables. `rows` counts the rows that each model should have; one that cannot
    be built from the log is reported, and left out from there on. `head` is the log's newest
    position, and `again` reads streams that have passed once more.
    """

    def __init__(
        self,
        connection: Connection[Any],
        marks: Mapping[Projection, int],
        findings: Findings,
        head: int,
        again: Callable[[Streams], Iterable[Stored]],
    ) -> None:
        self.rows = dict.fromkeys(marks, 0)
        self._connection = connection
        self._marks = marks
        self._findings = findings
        self._head = head
        self._again = again
        self._home = _schema(connection)
        self._tables = {projection: self._make_tables(projection) for projection in marks}
        self._appended = {
            projection: self._of_appended(projection)
            for projection in marks
            if isinstance(projection, AppendedProjection)
        }
        prepare(connection)
        # Both sides of a comparison are read whole.
        connection.execute("SET enable_hashjoin = on")

    def all(self, events: Iterable[Stored]) -> None:
        """Build the models from these events, all that they handle, and compare them."""
        remaining = iter(events)
        while some := list(islice(remaining, _BATCH)):
            self._build(some)
        self._compare(Streams())
        self._compare_appended(Streams())

    def passing(
        self, pieces: Iterable[Sequence[Stored]], streams: Streams
    ) -> Iterator[Sequence[Stored]]:
        """Let all events of these streams pass, stream by stream; build and compare on the way."""
        pending: list[Stored] = []
        first = appended_first = stream = streams.first
        appended = 0
        for piece in pieces:
            begins = piece[0].stream != stream
            stream = piece[0].stream
            if len(pending) >= (_BATCH if begins else 2 * _BATCH):
                self._build(pending)
                appended += len(pending)
                pending = []
                if begins:
                    self._compare(Streams(first, stream))
                    first = stream
                if begins and appended >= _COMPARED_AS_BYTES:
                    self._compare_appended(Streams(appended_first, stream))
                    appended_first, appended = stream, 0
            pending += piece
            yield piece
        self._build(pending)
        self._compare(Streams(first, streams.beyond))
        self._compare_appended(Streams(appended_first, streams.beyond))

    def _make_tables(self, projection: Projection) -> list[_Table]:
        tables = []
        for name in projection.tables:
            key = dict(self._connection.execute(_KEY, (name,)).fetchall())
            tables.append(_Table(projection.name, name, key))
            indexed = not isinstance(projection, AppendedProjection)
            less = sql.SQL("" if indexed else " EXCLUDING INDEXES")
            self._connection.execute(
                sql.SQL("CREATE TEMP TABLE {} (LIKE {}.{} INCLUDING ALL{})").format(
                    sql.Identifier(name), sql.Identifier(self._home), sql.Identifier(name), less
                )
            )
        return tables

    def _of_appended(self, projection: AppendedProjection) -> AppendedAudit:
        tables = [sql.Identifier(self._home, table.name) for table in self._tables[projection]]
        return AppendedAudit(self._connection, projection, tables)

    def _build(self, stored: Sequence[Stored]) -> None:
        faults = [event.fault for event in stored if event.event is None]
        recorded = _Chosen(
            [(event.position, event.event) for event in stored if event.event is not None]
        )
        for projection in list(self.rows):
            try:
                if faults:
                    raise LookupError(faults[0])
                concerned = self._concerned(projection, recorded)
                if projection in self._appended:
                    self._appended[projection].build(concerned)
                else:
                    self._handle(projection, concerned)
            except PASSING:
                raise
            except Exception as fault:  # noqa: BLE001 - an event that cannot be is what we look for
                self._give_up(projection, fault)

    def _concerned(self, projection: Projection, recorded: _Chosen) -> Sequence[Recorded]:
        mark = self._marks[projection]
        if mark == self._head:
            return recorded.of(projection)
        return projection.concerning([each for each in recorded.events if each[0] <= mark])

    def _handle(self, projection: Projection, concerned: Sequence[Recorded]) -> None:
        if concerned:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                projection.handle(cursor, concerned)

    def _give_up(self, projection: Projection, fault: Exception) -> None:
        del self.rows[projection]
        place = f"up to position {self._marks[projection]}"
        witness = Witness(self._findings, projection.name, place)
        witness.report("can be built from the log", "rows", f"{type(fault).__name__}: {fault}")

    def _compare(self, streams: Streams) -> None:
        """Compare what was built in tables, and make room."""
        for projection in list(self.rows):
            if projection not in self._appended:
                self.rows[projection] += self._compare_tables(projection, streams)

    def _compare_appended(self, streams: Streams) -> None:
        """Compare what was packed."""
        for projection, audit in self._appended.items():
            if projection in self.rows:
                self._compare_bytes(audit, projection, streams)

    def _compare_bytes(
        self, audit: AppendedAudit, projection: Projection, streams: Streams
    ) -> None:
        """Where bytes differ, go through these streams once more and build tables to compare."""
        self.rows[projection] += audit.rows
        if audit.agrees(_within(projection.stream_column, streams)):
            return
        remaining = iter(self._again(streams))
        try:
            while some := list(islice(remaining, _BATCH)):
                recorded = [(event.position, event.event) for event in some if event.event]
                self._handle(projection, self._concerned(projection, _Chosen(recorded)))
        except PASSING:
            raise
        except Exception as fault:  # noqa: BLE001 - as above: rows that the server will not take
            self._give_up(projection, fault)
        else:
            self._compare_tables(projection, streams)

    def _compare_tables(self, projection: Projection, streams: Streams) -> int:
        """Compare what was built in temporary tables, and empty them; returns how many rows."""
        rows = 0
        for table in self._tables[projection]:
            name = sql.Identifier("pg_temp", table.name)
            count = self._connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
            rows += count.fetchall()[0][0]
            different = table.different(self._home, streams, projection.stream_column)
            for want, have in self._connection.execute(different):
                _report(table.witness(want or have, self._findings), want, have)
            self._connection.execute(sql.SQL("TRUNCATE {}").format(name))
        return rows


def _schema(connection: Connection[Any]) -> str:
    row = connection.execute("SELECT current_schema()").fetchone()
    assert row is not None
    return str(row[0])


def _report(
    witness: Witness, want: Mapping[str, Any] | None, have: Mapping[str, Any] | None
) -> None:
    if want is None:
        witness.report("row", "none", "a row")
    elif have is None:
        witness.report("row", "a row", "none")
    else:
        for column in want:
            witness.expect(column, want[column], have[column])


def compare_accounts(
    accounts: Iterable[CreditAccount], live: Connection[Any], findings: Findings
) -> None:
    """Hold accounts, as they were at the balances' checkpoint, against their rows."""
    remaining = iter(accounts)
    while some := list(islice(remaining, _ACCOUNTS)):
        streams = [account.id for account in some]
        values = {"customer_ids": [], "account_ids": streams, "number": None}
        with live.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(READ_ACCOUNTS, values).fetchall()
        found = {row["account_id"]: row for row in rows}
        for account in some:
            _compare_account(account, found.get(account.id), findings)


def _compare_account(
    account: CreditAccount, row: Mapping[str, Any] | None, findings: Findings
) -> None:
    place = f"account {account.key}"
    witness = Witness(findings, "balances", place, account.customer_id, account.asset)
    if row is None:
        witness.report("account", "a row", "none")
        return
    try:
        found = _state(account_of(row))
    except (TypeError, ValueError, LookupError) as fault:
        witness.report("its rows can be read", "an account", repr(fault))
        return
    for field, value in _state(account).items():
        witness.expect(field, value, found[field])


def _state(account: CreditAccount) -> dict[str, Any]:
    """What must be the same, in one order: rows come in any, and a finding shows them."""
    return {
        "customer": (account.customer_id, account.asset),
        "version": (account.version, account.recorded_at),
        "lots": dict(sorted((lot.grant_id, lot) for lot in account.lots)),
        "holds": dict(sorted(account.holds.items())),
        "debts": dict(sorted((debt.grant_id, debt.amount) for debt in account.debts.values())),
        "overage": (
            account.overage_limit,
            account.overage_period,
            account.overage_since,
            account.overage_used,
        ),
    }
