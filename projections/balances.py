"""Balances: accounts, their lots and their open holds.

Rows say how an account's last event left it. What time has done since (starts, expiries, lapses)
is applied when they are read, by the domain's own rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, Connection, Cursor

from creditledger.domain import answers, ids
from creditledger.domain.account import CreditAccount, Debt, Hold
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.due import evaluate
from creditledger.domain.events import ACCOUNT_EVENTS, AccountEvent, Deducted, Event, LotAmount
from creditledger.domain.lots import Lot
from creditledger.projections.arrays import (
    bigint_array,
    text_array,
    timestamptz_array,
    uuid_array,
)
from creditledger.projections.balance_changes import HoldChanges, LotChanges, OverageChanges
from creditledger.projections.projection import BESIDE_ACCOUNTS, Projection, Recorded
from creditledger.projections.queries import rows_of

#: The asset of a customer that was never seen, where none is named.
DEFAULT_ASSET: Final = "credits"

_INSERT_ACCOUNTS: Final = """
    INSERT INTO accounts (account_id, version, recorded_at, customer_id, asset)
    SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::timestamptz[], %s::text[], %s::text[])
"""

_UPDATE_ACCOUNTS: Final = """
    UPDATE accounts SET version = last.version, recorded_at = last.recorded_at
    FROM unnest(%s::uuid[], %s::bigint[], %s::timestamptz[])
        AS last (account_id, version, recorded_at)
    WHERE accounts.account_id = last.account_id
"""

# Accounts (those named, and all of some customers) with all that can still change in them, one of
# their grants where its number is named, and the position that it all stands for.
READ_ACCOUNTS: Final = """
    SELECT mark.position, accounts.*,
        (SELECT json_agg(lots) FROM lots
         WHERE lots.account_id = accounts.account_id AND (open OR debt > 0)) AS lots,
        (SELECT json_agg(open_holds) FROM open_holds
         WHERE open_holds.account_id = accounts.account_id) AS holds,
        (SELECT to_json(lots) FROM lots
         WHERE lots.account_id = accounts.account_id AND number = %(number)s) AS granted
    FROM (SELECT coalesce(max(position), 0) AS position
          FROM projections WHERE name = 'balances') AS mark
    LEFT JOIN accounts ON account_id = ANY(%(account_ids)s::uuid[] || ARRAY(
        SELECT account_id FROM accounts WHERE customer_id = ANY(%(customer_ids)s::text[])))
    ORDER BY asset
"""

# The assets that a customer holds, those included that the read model has yet to see.
_ASSETS: Final = """
    SELECT asset FROM accounts WHERE customer_id = %(customer_id)s
    UNION
    SELECT state ->> 'asset' FROM ledger_log
    WHERE position > (SELECT coalesce(max(position), 0) FROM projections WHERE name = 'balances')
      AND version = 1 AND state ->> 'customer_id' = %(customer_id)s AND state ? 'asset'
    ORDER BY 1
"""

# Accounts with something due by a moment, in order of their ids.
_DUE_ACCOUNTS: Final = """
    SELECT account_id FROM lots
    WHERE open AND remaining > 0 AND expires_at <= %(now)s AND account_id > %(after)s
    UNION
    SELECT account_id FROM open_holds WHERE expires_at <= %(now)s AND account_id > %(after)s
    ORDER BY account_id LIMIT %(limit)s
"""


class Balances(Projection):
    """Every account's lots, open holds and overage, as of its last event."""

    name: ClassVar[str] = "balances"
    tables: ClassVar[tuple[str, ...]] = ("accounts", "lots", "open_holds")
    stream_column: ClassVar[str | None] = "account_id"
    handles: ClassVar[tuple[type[Event], ...]] = ACCOUNT_EVENTS
    ignores: ClassVar[tuple[type[Event], ...]] = BESIDE_ACCOUNTS

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Add up what the events change, and write each changed row once."""
        # By the account's number: hashing UUIDs themselves takes longer.
        new: dict[int, AccountEvent] = {}
        known: dict[int, AccountEvent] = {}
        lots, holds, overage = LotChanges(), HoldChanges(), OverageChanges()
        for _, event in events:
            assert isinstance(event, AccountEvent)
            account = event.originator_id.int
            (new if event.originator_version == 1 or account in new else known)[account] = event
            lots.take_in(event)
            if type(event) is Deducted and event.hold_id is None and not event.overage:
                # Most events are such, and change lots alone.
                continue
            holds.take_in(event)
            overage.take_in(event)
        if new:
            cursor.execute(_INSERT_ACCOUNTS, (*_stands(new.values()), *_names(new.values())))
        if known:
            cursor.execute(_UPDATE_ACCOUNTS, _stands(known.values()))
        for changes in (lots, holds, overage):
            changes.write(cursor)


def _stands(last: Collection[AccountEvent]) -> tuple[bytes, ...]:
    """Accounts with the versions and times of their last events, as columns."""
    return (
        uuid_array([event.originator_id for event in last]),
        bigint_array([event.originator_version for event in last]),
        timestamptz_array([event.recorded_at for event in last]),
    )


def _names(last: Collection[AccountEvent]) -> tuple[bytes, ...]:
    return text_array([event.customer_id for event in last]), text_array(
        [event.asset for event in last]
    )


class Asked(NamedTuple):
    """Whose balance is asked for: that of one asset, or all."""

    customer_id: str
    asset: str | None


async def accounts_of(
    connection: AsyncConnection[Any], asked: Collection[Asked]
) -> tuple[int, dict[Asked, list[CreditAccount]]]:
    """The accounts that are asked for, by asset, and the position that they all stand for."""
    rows = await _read(
        connection,
        customer_ids=[each.customer_id for each in asked if each.asset is None],
        account_ids=[ids.account_id(*each) for each in asked if each.asset is not None],
    )
    found: dict[Asked, list[CreditAccount]] = {each: [] for each in asked}
    for row in rows:
        for asset in (row["asset"], None):
            accounts = found.get(Asked(row["customer_id"], asset))
            if accounts is not None:
                accounts.append(account_of(row))
    return rows[0]["position"], found


async def balances(
    connection: AsyncConnection[Any], customer_id: str, now: datetime, *, asset: str | None = None
) -> dict[str, Any]:
    """A customer's balances at `now`, from the read model: `position` is what they stand for."""
    asked = Asked(customer_id, asset)
    position, found = await accounts_of(connection, [asked])
    answer = balances_answer(customer_id, found[asked], now, asset=asset)
    return {**answer, "position": position}


def balances_answer(
    customer_id: str, accounts: Iterable[CreditAccount], at: datetime, *, asset: str | None = None
) -> dict[str, Any]:
    """A customer's balances at a moment, whatever the accounts were made from.

    A customer that was never seen has zeros of the asset that was asked for.
    """
    moment = at.astimezone(UTC)
    found = [balance_answer(evaluate(account, moment)) for account in accounts]
    if not found:
        wanted = asset or DEFAULT_ASSET
        found = [balance_answer(CreditAccount(ids.account_id(customer_id, wanted), "", wanted))]
    return {"customer_id": customer_id, "balances": found}


def balance_answer(account: CreditAccount) -> dict[str, Any]:
    """One account as it stands, with its lots in burn order.

    `by_source` splits what is available, and `next_expiry` is when the next free credits end.
    """
    by_source: Counter[str] = Counter()
    lots = account.lots.burn_order()
    for lot in lots:
        if lot.remaining and account.lots.is_started(lot):
            by_source[lot.source] += lot.remaining
    return {
        **answers.balance(account),
        "by_source": dict(by_source),
        "next_expiry": answers.instant(account.lots.next_expiry),
        "lots": [_lot_answer(lot) for lot in lots],
    }


def _lot_answer(lot: Lot) -> dict[str, Any]:
    return {
        "grant_id": lot.grant_id,
        "source": lot.source,
        "priority": lot.priority,
        "granted": lot.granted,
        "remaining": lot.remaining,
        "held": lot.held,
        "effective_at": answers.instant(lot.effective_at),
        "expires_at": answers.instant(lot.expires_at),
    }


async def assets(connection: AsyncConnection[Any], customer_id: str) -> list[str]:
    """The assets that a customer has an account of, as of the newest event."""
    cursor = await connection.execute(_ASSETS, {"customer_id": customer_id})
    return [row[0] for row in await cursor.fetchall()]


def due_accounts(
    connection: Connection[Any], now: datetime, *, after: UUID, limit: int
) -> list[UUID]:
    """Accounts on which something is due by `now`, by id, from after the given one on."""
    values = {"now": now, "after": after, "limit": limit}
    return [row[0] for row in connection.execute(_DUE_ACCOUNTS, values)]


async def grant(
    connection: AsyncConnection[Any], grant_id: str, now: datetime
) -> dict[str, Any] | None:
    """A grant and what is left of it at `now`; None where the read model knows none of this id."""
    ref = ids.parse_event_id(ids.GRANT, grant_id)
    if ref is None:
        return None
    row = (await _read(connection, account_ids=[ref.stream], number=ref.version))[0]
    if row["granted"] is None:
        return None
    lot = evaluate(account_of(row), now.astimezone(UTC)).lots.get(grant_id)
    return {**_grant_answer(grant_id, row["granted"], lot), "position": row["position"]}


def _grant_answer(grant_id: str, row: Mapping[str, Any], lot: Lot | None) -> dict[str, Any]:
    cost = row["cost_amount"]
    return {
        "grant_id": grant_id,
        "customer_id": row["customer_id"],
        "asset": row["asset"],
        "amount": row["granted"],
        "source": row["source"],
        "priority": row["priority"],
        "effective_at": answers.instant(_moment(row["effective_at"])),
        "expires_at": answers.instant(_moment(row["expires_at"])),
        "cost_basis": cost and {"amount": cost, "currency": row["cost_currency"]},
        "payment_id": row["payment_id"],
        "origin_grant_id": row["origin_grant_id"],
        "transfer_id": row["transfer_id"],
        "reference": row["reference"],
        "debt_repaid": row["debt_repaid"],
        "remaining": lot.remaining if lot else 0,
        "held": lot.held if lot else 0,
        "revoked": row["revoked"],
        "written_off": row["written_off"],
        "debt": row["debt"],
        "happened_at": answers.instant(_moment(row["happened_at"])),
        "recorded_at": answers.instant(_moment(row["recorded_at"])),
        "metadata": row["metadata"],
    }


async def _read(
    connection: AsyncConnection[Any],
    *,
    account_ids: Sequence[UUID],
    customer_ids: Sequence[str] = (),
    number: int | None = None,
) -> list[dict[str, Any]]:
    """At least one row: where there is no account, it has the position alone."""
    values = {
        "account_ids": list(account_ids),
        "customer_ids": list(customer_ids),
        "number": number,
    }
    return await rows_of(connection, READ_ACCOUNTS, values)


def account_of(row: Mapping[str, Any]) -> CreditAccount:
    """The account behind its row, with its open lots and debts and its holds in JSON's types."""
    key = ids.stream_key(row["account_id"])
    lots = [(ids.event_id(ids.GRANT, key, lot["number"]), lot) for lot in row["lots"] or ()]
    indebted = [(grant_id, lot) for grant_id, lot in lots if lot["debt"]]
    return CreditAccount.restore(
        row["account_id"],
        customer_id=row["customer_id"],
        asset=row["asset"],
        version=row["version"],
        recorded_at=row["recorded_at"].astimezone(UTC),
        lots=[_lot(grant_id, lot) for grant_id, lot in lots if lot["open"]],
        holds=[_hold(key, hold) for hold in row["holds"] or ()],
        debts=[Debt(grant_id, lot["debt"], lot["payment_id"]) for grant_id, lot in indebted],
        overage_limit=row["overage_limit"],
        overage_period=row["overage_period"],
        overage_since=row["overage_since"],
        overage_used=row["overage_used"],
    )


def _lot(grant_id: str, row: Mapping[str, Any]) -> Lot:
    cost = row["cost_amount"]
    return Lot(
        grant_id,
        row["number"],
        row["source"],
        row["priority"],
        row["granted"],
        datetime.fromisoformat(row["effective_at"]),
        _moment(row["expires_at"]),
        None if cost is None else Money(cost, row["cost_currency"]),
        row["payment_id"],
        row["written_off"],
        row["remaining"],
        row["held"],
    )


def _hold(key: str, row: Mapping[str, Any]) -> Hold:
    pins = tuple(
        LotAmount(ids.event_id(ids.GRANT, key, number), Credits(amount))
        for number, amount in row["pins"]
    )
    return Hold(
        ids.event_id(ids.HOLD, key, row["number"]),
        Credits(sum(leg.amount for leg in pins)),
        datetime.fromisoformat(row["expires_at"]),
        pins,
        row["feature"],
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
