"""Compares read models with the log, each at its own checkpoint.

A model is built once more from the log, in temporary tables, up to where the live one stands; then
both are read side by side in the order of their keys. Balances are held against the domain's own
fold besides, which shares nothing with their handlers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import dict_row

from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.projections.balances import READ_ACCOUNTS, account_of
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.projection import Projection
from creditledger.projections.runner import BATCH, Connect, Log

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
    projection: Projection,
    position: int,
    findings: Findings,
    *,
    live: Connection[Any],
    connect: Connect,
    log: Log,
) -> int:
    """Hold a read model against what the log says up to its checkpoint; return how many rows.

    `live` sees the model as it stands at `position`.
    """
    rows = 0
    with _built_again(projection, position, connect, log, findings) as again:
        if again is None:
            return 0
        for name in projection.tables:
            table = _Table(projection.name, name, dict(live.execute(_KEY, (name,)).fetchall()))
            rows += _compare_rows(table, _rows(again, table), _rows(live, table), findings)
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


@contextmanager
def _built_again(
    projection: Projection, position: int, connect: Connect, log: Log, findings: Findings
) -> Iterator[Connection[Any] | None]:
    """A connection whose temporary tables hold the model; None where it could not be built."""
    with connect() as connection:
        connection.execute("SET plan_cache_mode = force_custom_plan")
        for table in projection.tables:
            name = sql.Identifier(table)
            like = sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING ALL)").format(name, name)
            connection.execute(like)
        try:
            _replay(projection, position, connection, log)
        except Exception as fault:  # noqa: BLE001 - a log that cannot be handled is what we look for
            witness = Witness(findings, projection.name, f"up to position {position}")
            witness.report("can be built from the log", "rows", f"{type(fault).__name__}: {fault}")
            yield None
            return
        yield connection


def _replay(projection: Projection, position: int, connection: Connection[Any], log: Log) -> None:
    after = 0
    while after < position:
        page = log.read(after, min(BATCH, position - after))
        concerned = projection.concerning(page.events)
        if concerned:
            with connection.transaction(), connection.cursor() as cursor:
                projection.handle(cursor, concerned)
        if page.position == after:
            raise LookupError(f"the log ends at position {after}")
        after = page.position


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
