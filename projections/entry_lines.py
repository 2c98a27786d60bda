"""What each event of an account is to its reader: one line of the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.answers import instant
from creditledger.domain.events import AccountEvent, Event, LotAmount

#: The kinds of lines, in the order in which a person would look for them.
KINDS: Final = (
    "grant",
    "hold",
    "deduction",
    "release",
    "refund",
    "expiry",
    "revocation",
    "recovery",
    "reinstatement",
    "expiry_change",
    "overage_limit",
    "transfer_out",
    "transfer_in",
)


class Line:
    """A kind, a signed amount (as it changes the total), the lots touched, facts of its kind.

    `subjects` are the versions of the events of what the line concerns besides itself: its lots,
    and the ids in `concerns`.
    """

    __slots__ = ("amount", "details", "feature", "happened_at", "kind", "lots", "subjects")

    def __init__(
        self,
        kind: str,
        amount: int,
        lots: Iterable[LotAmount],
        concerns: Iterable[str | None] = (),
        *,
        feature: str | None = None,
        happened_at: datetime | None = None,
        **details: Any,
    ) -> None:
        merged: dict[str, int] = {}
        for leg in lots:
            merged[leg.grant_id] = merged.get(leg.grant_id, 0) + leg.amount
        subjects = {ids.version_of(grant_id) for grant_id in merged}
        subjects.update(ids.version_of(subject) for subject in concerns if subject is not None)
        self.kind = kind
        self.amount = amount
        self.lots = [{"grant_id": grant_id, "amount": n} for grant_id, n in merged.items()]
        self.subjects = subjects
        self.feature = feature
        self.happened_at = happened_at
        self.details = details


def line_of(event: AccountEvent) -> Line:
    """The line of an event. Raises KeyError where its class has none."""
    return _LINES[type(event)](event)


def _id(prefix: str, event: AccountEvent) -> str:
    return ids.event_id(prefix, ids.stream_key(event.originator_id), event.originator_version)


def _sum(legs: Iterable[LotAmount]) -> int:
    return sum(leg.amount for leg in legs)


def _granted(event: e.Granted) -> Line:
    grant_id = _id(ids.GRANT, event)
    repaid = _sum(event.debt_repaid)
    rest = LotAmount(grant_id, Credits(event.amount - repaid))
    return Line(
        "grant" if event.transfer_id is None else "transfer_in",
        rest.amount,
        (rest,) if rest.amount else (),
        (grant_id, *(share.grant_id for share in event.debt_repaid)),
        grant_id=grant_id,
        granted=event.amount,
        debt_repaid=repaid,
        source=event.source,
        effective_at=instant(event.effective_at),
        expires_at=instant(event.expires_at),
        payment_id=event.payment_id,
        origin_grant_id=event.origin_grant_id,
        transfer_id=event.transfer_id,
        reference=event.reference,
    )


def _held(event: e.Held) -> Line:
    hold_id = _id(ids.HOLD, event)
    return Line(
        "hold",
        0,
        event.lots,
        (hold_id,),
        feature=event.feature,
        hold_id=hold_id,
        held=event.amount,
        expires_at=instant(event.expires_at),
    )


def _deducted(event: e.Deducted) -> Line:
    return Line(
        "deduction" if event.transfer_to is None else "transfer_out",
        event.overage - event.amount,
        (*event.captured, *event.lots),
        (event.hold_id,),
        feature=event.feature,
        deduction_id=_id(ids.DEDUCTION, event),
        deducted=event.amount,
        overage=event.overage,
        hold_id=event.hold_id,
        transfer_to=event.transfer_to,
    )


def _released(event: e.Released) -> Line:
    return Line(
        "release",
        0,
        event.lots,
        (event.hold_id,),
        happened_at=event.lapsed_at,
        hold_id=event.hold_id,
        released=event.amount,
        reason=event.reason,
        note=event.note,
    )


def _refunded(event: e.Refunded) -> Line:
    return Line(
        "refund",
        event.amount - event.overage,
        event.lots,
        (event.deduction_id,),
        refund_id=_id(ids.REFUND, event),
        deduction_id=event.deduction_id,
        refunded=event.amount,
        overage=event.overage,
        reason=event.reason,
    )


def _expired(event: e.Expired) -> Line:
    return Line("expiry", -_sum(event.lots), event.lots, happened_at=event.expired_at)


def _revoked(event: e.Revoked) -> Line:
    return Line(
        "revocation",
        -_sum(event.lots),
        event.lots,
        (event.grant_id,),
        revocation_id=_id(ids.REVOCATION, event),
        grant_id=event.grant_id,
        revoked=event.amount,
        debt=event.debt,
        written_off=event.written_off,
        payment_id=event.payment_id,
        reason=event.reason,
    )


def _recovered(event: e.Recovered) -> Line:
    return Line(
        "recovery",
        -event.amount,
        (LotAmount(event.grant_id, event.amount),),
        grant_id=event.grant_id,
        debt=event.debt,
        written_off=event.written_off,
    )


def _reinstated(event: e.Reinstated) -> Line:
    return Line(
        "reinstatement",
        _sum(event.lots),
        event.lots,
        (event.grant_id, *(share.grant_id for share in event.debt_cancelled)),
        reinstatement_id=_id(ids.REINSTATEMENT, event),
        grant_id=event.grant_id,
        reinstated=event.amount,
        debt_cancelled=_sum(event.debt_cancelled),
        written_off=event.written_off,
        reason=event.reason,
    )


def _expiry_changed(event: e.ExpiryChanged) -> Line:
    return Line(
        "expiry_change",
        0,
        (),
        (event.grant_id,),
        grant_id=event.grant_id,
        expires_at=instant(event.expires_at),
        previous=instant(event.previous),
    )


def _overage_limit_set(event: e.OverageLimitSet) -> Line:
    return Line("overage_limit", 0, (), limit=event.limit, period=event.period)


_LINES: Final[dict[type[Event], Callable[[Any], Line]]] = {
    e.Granted: _granted,
    e.Held: _held,
    e.Deducted: _deducted,
    e.Released: _released,
    e.Refunded: _refunded,
    e.Expired: _expired,
    e.Revoked: _revoked,
    e.Recovered: _recovered,
    e.Reinstated: _reinstated,
    e.ExpiryChanged: _expiry_changed,
    e.OverageLimitSet: _overage_limit_set,
}
