"""What must always hold, worked out from events alone (domain/README.md, 10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import snapshots
from creditledger.domain.account import CreditAccount
from creditledger.domain.events import AccountEvent, Event, LotAmount
from creditledger.domain.store import Snapshot


def replayed(events: Iterable[Event], stream: UUID, until: datetime | None = None) -> CreditAccount:
    """The account that follows from these events, or from those recorded up to a moment."""
    account = CreditAccount(stream)
    for event in events:
        if until is not None and event.recorded_at > until:
            break
        account.apply(event)
    return account


def state_of(account: CreditAccount) -> dict[str, Any]:
    """All that an account remembers, with its balance, in one order."""
    if account.recorded_at is None:
        return {}
    state = dict(snapshots.take(account).state)
    state["lots"] = sorted(state["lots"], key=lambda lot: lot["number"])
    state["holds"] = sorted(state["holds"], key=lambda hold: hold["hold_id"])
    return {**state, "balance": account.balance(), "version": account.version}


def restored(account: CreditAccount) -> CreditAccount:
    """The account again, by way of a snapshot."""
    taken = snapshots.take(account)
    again = snapshots.restore(
        Snapshot(taken.originator_id, taken.originator_version, taken.recorded_at, taken.state)
    )
    assert again is not None
    return again


def prove_identities(log: Sequence[Event]) -> None:
    """Check sentences 10.1 to 10.4, and the order of the log, on one log with nothing due."""
    accounts: dict[UUID, list[AccountEvent]] = {}
    versions: Counter[UUID] = Counter()
    for event in log:
        versions[event.originator_id] += 1
        assert event.originator_version == versions[event.originator_id]
        if isinstance(event, AccountEvent):
            accounts.setdefault(event.originator_id, []).append(event)
    for events in accounts.values():
        _prove_account(events)
        times = [event.recorded_at for event in events]
        assert times == sorted(times)
    moved: Counter[str] = Counter()
    for event in log:
        if isinstance(event, e.Deducted) and event.transfer_to is not None:
            moved[event.asset] += event.amount
        if isinstance(event, e.Granted) and event.transfer_id is not None:
            moved[event.asset] -= event.amount
    assert not any(moved.values()), moved


def _prove_account(events: Sequence[AccountEvent]) -> None:
    sums: Counter[str] = Counter()
    for event in events:
        sums.update(_figures(event))
    after = events[-1].after
    spent = sums["spent"] - sums["refunded"]
    revoked = sums["revoked from lots"] - sums["reinstated to lots"]
    parts = after.total + spent + sums["expired"] + revoked + sums["repaid"]
    assert sums["granted"] == parts, (sums, after)
    taken = sums["revoked from lots"] + sums["debt created"] + sums["written off"]
    assert sums["revoked"] == taken, sums
    assert sums["debt created"] == after.debt + sums["repaid"] + sums["cancelled"], (sums, after)
    assert sums["overage used"] - sums["overage refunded"] >= after.overage >= 0
    assert min(sums.values(), default=0) >= 0, sums


def _figures(event: AccountEvent) -> dict[str, int]:
    """What an event adds to the sums of its account."""
    match event:
        case e.Granted():
            return {"granted": event.amount, "repaid": _sum(event.debt_repaid)}
        case e.Deducted():
            assert event.amount == _sum(event.lots) + _sum(event.captured) + event.overage
            spent = _sum(event.lots) + _sum(event.captured)
            return {"spent": spent, "overage used": event.overage}
        case e.Refunded():
            assert event.amount == _sum(event.lots) + event.overage
            return {"refunded": _sum(event.lots), "overage refunded": event.overage}
        case e.Expired():
            return {"expired": _sum(event.lots)}
        case e.Revoked():
            return {
                "revoked": event.amount,
                "revoked from lots": _sum(event.lots),
                "debt created": event.debt,
                "written off": event.written_off,
            }
        case e.Recovered():
            return {
                "revoked from lots": event.amount,
                "debt created": -event.debt,
                "written off": -event.written_off,
            }
        case e.Reinstated():
            assert event.amount == (
                _sum(event.lots) + _sum(event.debt_cancelled) + event.written_off
            )
            return {"reinstated to lots": _sum(event.lots), "cancelled": _sum(event.debt_cancelled)}
        case e.Held() | e.Released():
            assert event.amount == _sum(event.lots)
    return {}


def _sum(legs: Iterable[LotAmount]) -> int:
    return sum(leg.amount for leg in legs)
