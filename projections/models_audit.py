"""Compares read models with the log, each at its own checkpoint.

All are built once more from the log, in temporary tables, up to where the live ones stand; then
both are read side by side in the order of their keys. Balances are held against the domain's own
fold besides, which shares nothing with their handlers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.projections.balances import READ_ACCOUNTS, account_of
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.projection import Projection, Recorded
from creditledger.projections.runner import BATCH, PASSING, Connect, Log, prepare

_FETCHED_AT_ONCE: Final = 2_000

#: Accounts that are held against their rows at a time.
_ACCOUNTS: Final = 500

# The columns of a table's primary key, in its order, and whether they are text.
_KEY: Final = """
    SELECT attname, atttypid = 'text'::regtype
    FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
    WHERE indrelid = %s::regclass AND indisprimary
    ORDER BY array_position(indkey::int2[], attnum)
"""


class _Table(NamedTuple):
    """A table of a read model and the columns of its primary key: whether each is text."""

    model: str
    name: str
    key: Mapping[str, bool]

    def key_of(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.key)

    def witness(self, row: Mapping[str, Any], findings: Findings) -> Witness:
        shown = " ".join(
            ids.stream_key(part) if isinstance(part, UUID) else str(part)
            for part in self.key_of(row)
        )
        whose = (row.get("customer_id"), row.get("asset"))
        return Witness(findings, self.model, f"{self.name} {shown}", *whose)


def compare(
    marks: Mapping[Projection, int],
    findings: Findings,
    *,
    live: Connection[Any],
    connect: Connect,
    log: Log,
) -> dict[Projection, int]:
    """Hold read models, each at its checkpoint, against what the log says up to there.

    `live` sees the models as they stand at these positions. Returns how many rows each should
    have; one that cannot be built from the log is left out.
    """
    rows: dict[Projection, int] = {}
    with connect() as again:
        for projection in _built_again(marks, again, log, findings):
            rows[projection] = 0
            for name in projection.tables:
                table = _Table(projection.name, name, dict(live.execute(_KEY, (name,)).fetchall()))
                expected, found = _rows(again, table), _rows(live, table)
                rows[projection] += _compare_rows(table, expected, found, findings)
    return rows


def compare_accounts(
    accounts: Iterable[CreditAccount], live: Connection[Any], findings: Findings
) -> None:
    """Hold accounts, as they were at the balances' checkpoint, against their rows."""
    remaining = iter(accounts)
    while some := list(islice(remaining, _ACCOUNTS)):
        streams = [account.id for account in some]
        values = {"customer_id": None, "account_ids": streams, "number": None}
        with live.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(READ_ACCOUNTS, values).fetchall()
        found = {row["account_id"]: row for row in rows}
        for account in some:
            _compare_account(account, found.get(account.id), findings)


def _built_again(
    marks: Mapping[Projection, int], connection: Connection[Any], log: Log, findings: Findings
) -> list[Projection]:
    """Those read models that could be built in temporary tables, up to their positions."""
    prepare(connection)
    for projection in marks:
        for table in projection.tables:
            name = sql.Identifier(table)
            like = sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING ALL)").format(name, name)
            connection.execute(like)
    sound = list(marks)

    def give_up(projection: Projection, fault: Exception) -> None:
        sound.remove(projection)
        witness = Witness(findings, projection.name, f"up to position {marks[projection]}")
        witness.report("can be built from the log", "rows", f"{type(fault).__name__}: {fault}")

    after = 0
    while behind := [projection for projection in sound if marks[projection] > after]:
        try:
            page = log.read(after, BATCH)
            if page.position == after:
                raise LookupError(f"the log ends at position {after}")
        except PASSING:
            raise
        except Exception as fault:  # noqa: BLE001 - a log that cannot be read is what we look for
            for projection in behind:
                give_up(projection, fault)
            break
        for projection in behind:
            events = [recorded for recorded in page.events if recorded[0] <= marks[projection]]
            try:
                _handle(projection, events, connection)
            except PASSING:
                raise
            except Exception as fault:  # noqa: BLE001 - the same of its events
                give_up(projection, fault)
        after = page.position
    return sound


def _handle(
    projection: Projection, events: Sequence[Recorded], connection: Connection[Any]
) -> None:
    concerned = projection.concerning(events)
    if concerned:
        with connection.transaction(), connection.cursor() as cursor:
            projection.handle(cursor, concerned)


def _rows(connection: Connection[Any], table: _Table) -> Iterator[Mapping[str, Any]]:
    """The rows in the order of their keys, which is Python's, too."""
    order = sql.SQL(", ").join(
        sql.SQL('{} COLLATE "C"' if is_text else "{}").format(sql.Identifier(name))
        for name, is_text in table.key.items()
    )
    query = sql.SQL("SELECT * FROM {} ORDER BY {}").format(sql.Identifier(table.name), order)
    with (
        connection.transaction(),
        connection.cursor(f"audit_{table.name}", row_factory=dict_row) as cursor,
    ):
        cursor.itersize = _FETCHED_AT_ONCE
        # PostgreSQL writes equal documents equally, so there is no need to read them.
        set_json_loads(lambda document: document, cursor)
        cursor.execute(query)
        yield from cursor


def _compare_rows(
    table: _Table,
    expected: Iterator[Mapping[str, Any]],
    found: Iterator[Mapping[str, Any]],
    findings: Findings,
) -> int:
    """Walk through both side by side; returns how many rows were expected."""
    rows = 0
    want, have = next(expected, None), next(found, None)
    while want is not None or have is not None:
        if have is None or (want is not None and table.key_of(want) < table.key_of(have)):
            assert want is not None
            table.witness(want, findings).report("row", "a row", "none")
            rows, want = rows + 1, next(expected, None)
        elif want is None or table.key_of(have) < table.key_of(want):
            table.witness(have, findings).report("row", "none", "a row")
            have = next(found, None)
        else:
            if want != have:
                witness = table.witness(want, findings)
                for column in want:
                    witness.expect(column, want[column], have[column])
            rows, want, have = rows + 1, next(expected, None), next(found, None)
    return rows


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
    return {
        "customer": (account.customer_id, account.asset),
        "version": (account.version, account.recorded_at),
        "lots": {lot.grant_id: lot for lot in account.lots},
        "holds": account.holds,
        "debts": {debt.grant_id: debt.amount for debt in account.debts.values()},
        "overage": (
            account.overage_limit,
            account.overage_period,
            account.overage_since,
            account.overage_used,
        ),
    }
