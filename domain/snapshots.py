"""Accounts as plain values and back: for snapshots, which bound the cost of loading."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from creditledger.domain.account import CreditAccount, Debt, Hold
from creditledger.domain.amounts import Money
from creditledger.domain.events import LotAmount
from creditledger.domain.lots import Lot
from creditledger.domain.store import Snapshot

#: Counted up whenever the form below changes; a snapshot of another form is not read.
FORM = 1


def take(account: CreditAccount) -> Snapshot:
    """The account's state after its last event; it must have one."""
    assert account.recorded_at is not None
    since = account.overage_since
    state = {
        "form": FORM,
        "customer_id": account.customer_id,
        "asset": account.asset,
        "lots": [_plain_lot(lot) for lot in account.lots],
        "holds": [_plain_hold(hold) for hold in account.holds.values()],
        "debts": [[d.grant_id, d.amount, d.payment_id] for d in account.debts.values()],
        "overage_limit": account.overage_limit,
        "overage_period": account.overage_period,
        "overage_since": since and since.isoformat(),
        "overage_used": account.overage_used,
    }
    return Snapshot(account.id, account.version, account.recorded_at, state)


def restore(snapshot: Snapshot) -> CreditAccount | None:
    """The account as it was, or None where the snapshot has another form."""
    state = snapshot.state
    if state.get("form") != FORM:
        return None
    return CreditAccount.restore(
        snapshot.originator_id,
        customer_id=state["customer_id"],
        asset=state["asset"],
        version=snapshot.originator_version,
        recorded_at=snapshot.recorded_at,
        lots=[_lot(plain) for plain in state["lots"]],
        holds=[_hold(plain) for plain in state["holds"]],
        debts=[Debt(*plain) for plain in state["debts"]],
        overage_limit=state["overage_limit"],
        overage_period=state["overage_period"],
        overage_since=_moment(state["overage_since"]),
        overage_used=state["overage_used"],
    )


def _plain_lot(lot: Lot) -> dict[str, Any]:
    cost = lot.cost_basis
    return {
        "grant_id": lot.grant_id,
        "number": lot.number,
        "source": lot.source,
        "priority": lot.priority,
        "granted": lot.granted,
        "effective_at": lot.effective_at.isoformat(),
        "expires_at": lot.expires_at and lot.expires_at.isoformat(),
        "cost_basis": cost and [cost.amount, cost.currency],
        "payment_id": lot.payment_id,
        "written_off": lot.written_off,
        "remaining": lot.remaining,
        "held": lot.held,
    }


def _lot(plain: Mapping[str, Any]) -> Lot:
    return Lot(
        **{
            **plain,
            "effective_at": _moment(plain["effective_at"]),
            "expires_at": _moment(plain["expires_at"]),
            "cost_basis": Money(*plain["cost_basis"]) if plain["cost_basis"] else None,
        }
    )


def _plain_hold(hold: Hold) -> dict[str, Any]:
    return {
        "hold_id": hold.hold_id,
        "amount": hold.amount,
        "expires_at": hold.expires_at.isoformat(),
        "lots": [[leg.grant_id, leg.amount] for leg in hold.lots],
        "feature": hold.feature,
    }


def _hold(plain: Mapping[str, Any]) -> Hold:
    lots = tuple(LotAmount(*leg) for leg in plain["lots"])
    expires_at = datetime.fromisoformat(plain["expires_at"])
    return Hold(plain["hold_id"], plain["amount"], expires_at, lots, plain["feature"])


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
