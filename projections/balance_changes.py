"""What a series of events changes about lots, open holds and overage: sums, written once a row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import Cursor

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import period_start
from creditledger.domain.events import AccountEvent
from creditledger.projections.arrays import bigint_array, uuid_array
from creditledger.projections.projection import as_json

#: An account and the version of the event that brought about its lot or hold.
Place = tuple[UUID, int]

OverageEvent = e.OverageLimitSet | e.Deducted | e.Refunded

_FIND_OVERAGE = """
    SELECT account_id, overage_limit, overage_period, overage_since, overage_used
    FROM accounts WHERE account_id = ANY(%s)
"""

_UPDATE_OVERAGE = """
    UPDATE accounts
    SET overage_limit = new.overage_limit, overage_period = new.overage_period,
        overage_since = new.overage_since, overage_used = new.overage_used
    FROM json_populate_recordset(null::accounts, %s::json) AS new
    WHERE accounts.account_id = new.account_id
"""

_INSERT_LOTS = """
    INSERT INTO lots (account_id, number, customer_id, asset, source, priority, granted,
        effective_at, expires_at, cost_amount, cost_currency, payment_id, origin_grant_id,
        transfer_id, reference, happened_at, recorded_at, metadata, debt_repaid, remaining, held,
        revoked, written_off, debt)
    SELECT account_id, number, customer_id, asset, source, priority, granted,
        effective_at, expires_at, cost_amount, cost_currency, payment_id, origin_grant_id,
        transfer_id, reference, happened_at, recorded_at, metadata, debt_repaid, remaining, held,
        revoked, written_off, debt
    FROM json_populate_recordset(null::lots, %s::json)
"""

# Amounts are differences here.
_CHANGE_LOTS = """
    UPDATE lots
    SET remaining = lots.remaining + change.remaining, held = lots.held + change.held,
        revoked = lots.revoked + change.revoked,
        written_off = lots.written_off + change.written_off, debt = lots.debt + change.debt
    FROM unnest(%s::uuid[], %s::bigint[],
                %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
        AS change (account_id, number, remaining, held, revoked, written_off, debt)
    WHERE lots.account_id = change.account_id AND lots.number = change.number
"""

_CHANGE_EXPIRIES = """
    UPDATE lots SET expires_at = new.expires_at
    FROM json_populate_recordset(null::lots, %s::json) AS new
    WHERE lots.account_id = new.account_id AND lots.number = new.number
"""

_FIND_HOLDS = """
    SELECT open_holds.account_id, open_holds.number, expires_at, feature, pins
    FROM open_holds
    JOIN unnest(%s::uuid[], %s::bigint[]) AS wanted (account_id, number)
      ON open_holds.account_id = wanted.account_id AND open_holds.number = wanted.number
"""

_UPSERT_HOLDS = """
    INSERT INTO open_holds (account_id, number, expires_at, feature, pins)
    SELECT account_id, number, expires_at, feature, pins
    FROM json_populate_recordset(null::open_holds, %s::json)
    ON CONFLICT (account_id, number) DO UPDATE SET pins = excluded.pins
"""

_DELETE_HOLDS = """
    DELETE FROM open_holds
    USING unnest(%s::uuid[], %s::bigint[]) AS closed (account_id, number)
    WHERE open_holds.account_id = closed.account_id AND open_holds.number = closed.number
"""

#: In the order of the columns of `_CHANGE_LOTS`.
_NO_CHANGE: Final = {"remaining": 0, "held": 0, "revoked": 0, "written_off": 0, "debt": 0}


class LotChanges:
    """New lots, differences in their amounts, new expiries."""

    def __init__(self) -> None:
        self._new: dict[Place, dict[str, Any]] = {}
        self._changes: dict[Place, dict[str, Any]] = {}
        self._expiries: dict[Place, datetime | None] = {}
        self._last_account = -1
        self._last_grant = ""
        self._last_row: dict[str, Any] = {}

    def take_in(self, event: AccountEvent) -> None:
        """Add what one event changes."""
        account = event.originator_id
        match event:
            case e.Deducted():
                self._spend(account, event)
            case e.Granted():
                self._new[account, event.originator_version] = lot_row(event)
                self._last_grant = ""
                self._add(account, event.debt_repaid, debt=-1)
            case e.Held():
                self._add(account, event.lots, remaining=-1, held=1)
            case e.Released():
                self._add(account, event.lots, remaining=1, held=-1)
            case e.Refunded():
                self._add(account, event.lots, remaining=1)
            case e.Expired():
                self._add(account, event.lots, remaining=-1)
            case e.Revoked():
                self._add(account, event.lots, remaining=-1)
                row = self._row(account, event.grant_id)
                row["revoked"] += event.amount
                row["written_off"] += event.written_off
                row["debt"] += event.debt
            case e.Recovered():
                row = self._row(account, event.grant_id)
                row["remaining"] -= event.amount
                row["written_off"] -= event.written_off
                row["debt"] -= event.debt
            case e.Reinstated():
                self._add(account, event.debt_cancelled, debt=-1)
                self._add(account, event.lots, remaining=1)
                row = self._row(account, event.grant_id)
                row["revoked"] -= event.amount
                row["written_off"] -= event.written_off
            case e.ExpiryChanged():
                self._expiries[account, ids.version_of(event.grant_id)] = event.expires_at
            case e.OverageLimitSet():
                pass
            case _:
                raise TypeError(f"balances do not know what {type(event).__name__} changes")

    def write(self, cursor: Cursor[Any]) -> None:
        """Write the rows, each once."""
        if self._new:
            cursor.execute(_INSERT_LOTS, (as_json(list(self._new.values())),))
        if self._changes:
            amounts = (
                bigint_array([row[column] for row in self._changes.values()])
                for column in _NO_CHANGE
            )
            cursor.execute(_CHANGE_LOTS, (*_columns(self._changes), *amounts))
        if self._expiries:
            rows = {place: {"expires_at": at} for place, at in self._expiries.items()}
            cursor.execute(_CHANGE_EXPIRIES, (as_json(_keyed(rows)),))

    def _row(self, account: UUID, grant_id: str) -> dict[str, Any]:
        # Many events of an account take from the same lot, and come close together in a rebuild.
        if grant_id == self._last_grant and account.int == self._last_account:
            return self._last_row
        place = (account, ids.version_of(grant_id))
        row = self._new.get(place) or self._changes.get(place)
        if row is None:
            row = self._changes[place] = _NO_CHANGE.copy()
        self._last_account, self._last_grant, self._last_row = account.int, grant_id, row
        return row

    def _spend(self, account: UUID, event: e.Deducted) -> None:
        for leg in event.lots:
            self._row(account, leg.grant_id)["remaining"] -= leg.amount
        if event.captured:
            self._add(account, event.captured, held=-1)

    def _add(
        self,
        account: UUID,
        legs: Iterable[e.LotAmount],
        *,
        remaining: int = 0,
        held: int = 0,
        debt: int = 0,
    ) -> None:
        for leg in legs:
            row = self._row(account, leg.grant_id)
            row["remaining"] += remaining * leg.amount
            row["held"] += held * leg.amount
            row["debt"] += debt * leg.amount


def lot_row(event: e.Granted) -> dict[str, Any]:
    """The row of a lot as its grant made it."""
    repaid = sum(share.amount for share in event.debt_repaid)
    cost = event.cost_basis
    return {
        "account_id": event.originator_id,
        "number": event.originator_version,
        "customer_id": event.customer_id,
        "asset": event.asset,
        "source": event.source,
        "priority": event.priority,
        "granted": event.amount,
        "effective_at": event.effective_at,
        "expires_at": event.expires_at,
        "cost_amount": cost and cost.amount,
        "cost_currency": cost and cost.currency,
        "payment_id": event.payment_id,
        "origin_grant_id": event.origin_grant_id,
        "transfer_id": event.transfer_id,
        "reference": event.reference,
        "happened_at": event.context.happened_at,
        "recorded_at": event.recorded_at,
        "metadata": event.context.metadata,
        "debt_repaid": repaid,
        **_NO_CHANGE,
        "remaining": event.amount - repaid,
    }


def _keyed(rows: dict[Place, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"account_id": account, "number": number, **row} for (account, number), row in rows.items()
    ]


def _columns(places: Collection[Place]) -> tuple[bytes, bytes]:
    return (
        uuid_array([account for account, _ in places]),
        bigint_array([number for _, number in places]),
    )


class HoldChanges:
    """Holds that open, shrink and close. One that does it all in one series leaves no row."""

    def __init__(self) -> None:
        #: Those that were opened in the series and are still open.
        self._opened: dict[_Mark, dict[str, Any]] = {}
        #: What became of those that were open before.
        self._later: list[e.Deducted | e.Released] = []

    def take_in(self, event: AccountEvent) -> None:
        """Take in what concerns holds."""
        if isinstance(event, e.Held):
            self._opened[event.originator_id.int, event.originator_version] = {
                "account_id": event.originator_id,
                "number": event.originator_version,
                "expires_at": event.expires_at,
                "feature": event.feature,
                "pins": _pins(event.lots),
            }
        elif (
            isinstance(event, (e.Deducted, e.Released))
            and event.hold_id is not None
            and not _fold(self._opened, event)
        ):
            self._later.append(event)

    def write(self, cursor: Cursor[Any]) -> None:
        """Write the rows, each once."""
        rows = self._opened
        if self._later:
            stored = {_mark_of(event): _place_of(event) for event in self._later}
            found = _find_holds(cursor, list(stored.values()))
            for event in self._later:
                if not _fold(found, event):
                    raise LookupError(f"no open hold {event.hold_id} is known")
            closed = [place for mark, place in stored.items() if mark not in found]
            if closed:
                cursor.execute(_DELETE_HOLDS, _columns(closed))
            rows = {**found, **rows}
        if rows:
            cursor.execute(_UPSERT_HOLDS, (as_json(list(rows.values())),))


#: An account's number and that of a hold: hashing UUIDs themselves takes longer.
_Mark = tuple[int, int]


def _fold(rows: dict[_Mark, dict[str, Any]], event: e.Deducted | e.Released) -> bool:
    """Let a row be what an event makes of it, or go; False where there is none."""
    mark = _mark_of(event)
    row = rows.get(mark)
    if row is None:
        return False
    left = _less(row["pins"], event.captured) if isinstance(event, e.Deducted) else []
    if left:
        row["pins"] = left
    else:
        del rows[mark]
    return True


def _mark_of(event: e.Deducted | e.Released) -> _Mark:
    assert event.hold_id is not None
    return event.originator_id.int, ids.version_of(event.hold_id)


def _place_of(event: e.Deducted | e.Released) -> Place:
    return event.originator_id, _mark_of(event)[1]


def _find_holds(cursor: Cursor[Any], places: Sequence[Place]) -> dict[_Mark, dict[str, Any]]:
    names = ("account_id", "number", "expires_at", "feature", "pins")
    rows = cursor.execute(_FIND_HOLDS, _columns(places))
    return {(row[0].int, row[1]): dict(zip(names, row, strict=True)) for row in rows}


def _pins(legs: Iterable[e.LotAmount]) -> list[list[int]]:
    return [[ids.version_of(leg.grant_id), leg.amount] for leg in legs]


def _less(pins: list[list[int]], captured: Iterable[e.LotAmount]) -> list[list[int]]:
    taken = {ids.version_of(leg.grant_id): leg.amount for leg in captured}
    left = [[number, amount - taken.get(number, 0)] for number, amount in pins]
    return [[number, amount] for number, amount in left if amount]


class OverageChanges:
    """What was spent beyond the lots in an account's current period, and its limit."""

    def __init__(self) -> None:
        self._events: list[OverageEvent] = []

    def take_in(self, event: AccountEvent) -> None:
        """Keep what concerns overage."""
        if isinstance(event, (e.Deducted, e.Refunded)):
            if event.overage:
                self._events.append(event)
        elif isinstance(event, e.OverageLimitSet):
            self._events.append(event)

    def write(self, cursor: Cursor[Any]) -> None:
        """Carry on from the rows, which must exist: most accounts never come here."""
        if not self._events:
            return
        accounts = list({event.originator_id: None for event in self._events})
        rows = {
            account: {
                "account_id": account,
                "overage_limit": limit,
                "overage_period": period,
                "overage_since": since,
                "overage_used": used,
            }
            for account, limit, period, since, used in cursor.execute(_FIND_OVERAGE, (accounts,))
        }
        for event in self._events:
            _count_overage(rows[event.originator_id], event)
        cursor.execute(_UPDATE_OVERAGE, (as_json(list(rows.values())),))


def _count_overage(row: dict[str, Any], event: OverageEvent) -> None:
    match event:
        case e.OverageLimitSet():
            if event.period != row["overage_period"]:
                row["overage_used"], row["overage_since"] = 0, event.recorded_at
            row["overage_limit"], row["overage_period"] = event.limit, event.period
        case e.Deducted():
            since = period_start(event.recorded_at, row["overage_period"])
            if row["overage_since"] is None or row["overage_since"] < since:
                row["overage_used"], row["overage_since"] = 0, since
            row["overage_used"] += event.overage
        case e.Refunded():
            row["overage_used"] -= event.overage_this_period
