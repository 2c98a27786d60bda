"""What each event of an account is to its reader: one line of the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.answers import instant
from creditledger.domain.events import AccountEvent, Event, LotAmount

#: Accounts whose key is at hand: the events of one come close together.
_KEYS: Final = 16_384

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

    The names in `lots` and `details` stand in the order of jsonb: see `copying`.

    `subjects` are the versions of the events of what the line concerns besides itself: its lots,
    and the ids in `concerns`.
    """

    __slots__ = ("amount", "details", "feature", "happened_at", "kind", "lots", "subjects")

    def __init__(
        self,
        kind: str,
        amount: int,
        lots: Sequence[LotAmount],
        concerns: Iterable[str | None],
        details: dict[str, Any],
        *,
        feature: str | None = None,
        happened_at: datetime | None = None,
    ) -> None:
        if len(lots) > 1:
            lots = _merged(lots)
        subjects = {ids.version_of(leg.grant_id) for leg in lots}
        for subject in concerns:
            if subject is not None:
                subjects.add(ids.version_of(subject))
        self.kind = kind
        self.amount = amount
        self.lots = [{"amount": leg.amount, "grant_id": leg.grant_id} for leg in lots]
        self.subjects = subjects
        self.feature = feature
        self.happened_at = happened_at
        self.details = details


def _merged(legs: Sequence[LotAmount]) -> Sequence[LotAmount]:
    """Each lot once."""
    amounts: dict[str, int] = {}
    for leg in legs:
        amounts[leg.grant_id] = amounts.get(leg.grant_id, 0) + leg.amount
    return [LotAmount(grant_id, Credits(amount)) for grant_id, amount in amounts.items()]


def line_of(event: AccountEvent) -> Line:
    """The line of an event. Raises KeyError where its class has none."""
    return _LINES[type(event)](event)


_key_of = lru_cache(_KEYS)(ids.stream_key)


def _id(prefix: str, event: AccountEvent) -> str:
    return f"{prefix}_{_key_of(event.originator_id)}{event.originator_version}"


def _sum(legs: Iterable[LotAmount]) -> int:
    return sum(leg.amount for leg in legs)


def _granted(event: e.Granted) -> Line:
    grant_id = _id(ids.GRANT, event)
    repaid = _sum(event.debt_repaid)
    rest = LotAmount(grant_id, Credits(event.amount - repaid))
    details = {
        "source": event.source,
        "granted": event.amount,
        "grant_id": grant_id,
        "reference": event.reference,
        "expires_at": instant(event.expires_at),
        "payment_id": event.payment_id,
        "debt_repaid": repaid,
        "transfer_id": event.transfer_id,
        "effective_at": instant(event.effective_at),
        "origin_grant_id": event.origin_grant_id,
    }
    return Line(
        "grant" if event.transfer_id is None else "transfer_in",
        rest.amount,
        (rest,) if rest.amount else (),
        (grant_id, *(share.grant_id for share in event.debt_repaid)),
        details,
    )


def _held(event: e.Held) -> Line:
    hold_id = _id(ids.HOLD, event)
    details = {
        "held": event.amount,
        "hold_id": hold_id,
        "expires_at": instant(event.expires_at),
    }
    return Line("hold", 0, event.lots, (hold_id,), details, feature=event.feature)


def _deducted(event: e.Deducted) -> Line:
    details = {
        "hold_id": event.hold_id,
        "overage": event.overage,
        "deducted": event.amount,
        "transfer_to": event.transfer_to,
        "deduction_id": _id(ids.DEDUCTION, event),
    }
    return Line(
        "deduction" if event.transfer_to is None else "transfer_out",
        event.overage - event.amount,
        event.captured + event.lots,
        (event.hold_id,),
        details,
        feature=event.feature,
    )


def _released(event: e.Released) -> Line:
    details = {
        "note": event.note,
        "reason": event.reason,
        "hold_id": event.hold_id,
        "released": event.amount,
    }
    happened_at = event.lapsed_at
    return Line("release", 0, event.lots, (event.hold_id,), details, happened_at=happened_at)


def _refunded(event: e.Refunded) -> Line:
    details = {
        "reason": event.reason,
        "overage": event.overage,
        "refunded": event.amount,
        "refund_id": _id(ids.REFUND, event),
        "deduction_id": event.deduction_id,
    }
    total = event.amount - event.overage
    return Line("refund", total, event.lots, (event.deduction_id,), details)


def _expired(event: e.Expired) -> Line:
    return Line("expiry", -_sum(event.lots), event.lots, (), {}, happened_at=event.expired_at)


def _revoked(event: e.Revoked) -> Line:
    details = {
        "debt": event.debt,
        "reason": event.reason,
        "revoked": event.amount,
        "grant_id": event.grant_id,
        "payment_id": event.payment_id,
        "written_off": event.written_off,
        "revocation_id": _id(ids.REVOCATION, event),
    }
    return Line("revocation", -_sum(event.lots), event.lots, (event.grant_id,), details)


def _recovered(event: e.Recovered) -> Line:
    details = {
        "debt": event.debt,
        "grant_id": event.grant_id,
        "written_off": event.written_off,
    }
    return Line("recovery", -event.amount, (LotAmount(event.grant_id, event.amount),), (), details)


def _reinstated(event: e.Reinstated) -> Line:
    details = {
        "reason": event.reason,
        "grant_id": event.grant_id,
        "reinstated": event.amount,
        "written_off": event.written_off,
        "debt_cancelled": _sum(event.debt_cancelled),
        "reinstatement_id": _id(ids.REINSTATEMENT, event),
    }
    return Line(
        "reinstatement",
        _sum(event.lots),
        event.lots,
        (event.grant_id, *(share.grant_id for share in event.debt_cancelled)),
        details,
    )


def _expiry_changed(event: e.ExpiryChanged) -> Line:
    details = {
        "grant_id": event.grant_id,
        "previous": instant(event.previous),
        "expires_at": instant(event.expires_at),
    }
    return Line("expiry_change", 0, (), (event.grant_id,), details)


def _overage_limit_set(event: e.OverageLimitSet) -> Line:
    return Line("overage_limit", 0, (), (), {"limit": event.limit, "period": event.period})


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
