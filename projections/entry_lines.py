"""What each event of an account is to its reader: one line of the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.answers import instant
from creditledger.domain.events import AccountEvent, Event, LotAmount
from creditledger.projections.copying import NULL, Packed, document, jsonb

#: Accounts whose key is at hand, and lots that are: the events of one come close together.
_KEPT: Final = 16_384

_encode: Final = msgspec.json.Encoder().encode

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


class Line(NamedTuple):
    """A kind, a signed amount (as it changes the total), the lots touched, facts of its kind.

    `lots` and `details` are packed documents, whose names stand in the order of jsonb: see
    `copying`. `subjects` are the versions of the events of what the line concerns besides itself,
    in order. A plain deduction has none of these, but the number of its `lot`: the version of the
    event of the grant.
    """

    kind: str
    amount: int
    lots: Packed
    subjects: Sequence[int]
    details: Packed
    feature: str | None
    happened_at: datetime | None
    lot: int | None = None


def _line(
    kind: str,
    amount: int,
    lots: Sequence[LotAmount],
    concerns: Iterable[str | None],
    details: dict[str, Any],
    *,
    happened_at: datetime | None = None,
) -> Line:
    """The line of an event that concerns these lots, and what these ids are of."""
    written, numbers = _lots(lots)
    subjects = {ids.version_of(subject) for subject in concerns if subject is not None}
    subjects.update(numbers)
    return Line(kind, amount, written, sorted(subjects), jsonb(details), None, happened_at)


def _lots(legs: Sequence[LotAmount]) -> tuple[Packed, list[int]]:
    """The lots of a line, each once, written straight away, and their numbers."""
    if len(legs) == 1:
        (leg,) = legs
        number, grant_id = _grant(leg.grant_id)
        lot = f'[{{"amount": {leg.amount}, "grant_id": {grant_id}}}]'
        return document(lot.encode()), [number]
    amounts: dict[str, int] = {}
    for leg in legs:
        amounts[leg.grant_id] = amounts.get(leg.grant_id, 0) + leg.amount
    numbers = [ids.version_of(grant_id) for grant_id in amounts]
    return jsonb([{"amount": each, "grant_id": of} for of, each in amounts.items()]), numbers


def _with(numbers: list[int], subject: str) -> list[int]:
    """The numbers of what a line concerns, with that of another id, in order."""
    return sorted({*numbers, ids.version_of(subject)})


def _quoted(value: str | None) -> str:
    """A text or nothing as a document says it."""
    return "null" if value is None else _encode(value).decode()


def line_of(event: AccountEvent) -> Line:
    """The line of an event. Raises KeyError where its class has none."""
    return _LINES[type(event)](event)


@lru_cache(_KEPT)
def _key_of(bits: int) -> str:
    """The key of a stream; hashing UUIDs themselves takes longer."""
    return ids.stream_key(UUID(int=bits))


@lru_cache(_KEPT)
def _grant(grant_id: str) -> tuple[int, str]:
    """The number of a lot, and its id as a document says it."""
    return ids.version_of(grant_id), _quoted(grant_id)


def _id(prefix: str, event: AccountEvent) -> str:
    return f"{prefix}_{_key_of(event.originator_id.int)}{event.originator_version}"


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
    return _line(
        "grant" if event.transfer_id is None else "transfer_in",
        rest.amount,
        (rest,) if rest.amount else (),
        (grant_id, *(share.grant_id for share in event.debt_repaid)),
        details,
    )


# What comes most often is written straight away.


def _held(event: e.Held) -> Line:
    lots, numbers = _lots(event.lots)
    hold_id = _id(ids.HOLD, event)
    details = (
        f'{{"held": {event.amount}, "hold_id": "{hold_id}",'
        f' "expires_at": "{instant(event.expires_at)}"}}'
    )
    subjects = _with(numbers, hold_id)
    return Line("hold", 0, lots, subjects, document(details.encode()), event.feature, None)


def _deducted(event: e.Deducted) -> Line:
    if is_plain(event):
        lot = ids.version_of(event.lots[0].grant_id)
        return Line("deduction", -event.amount, NULL, (), NULL, event.feature, None, lot)
    lots, numbers = _lots(event.captured + event.lots)
    hold_id, transfer_to = event.hold_id, event.transfer_to
    details = (
        f'{{"hold_id": {_quoted(hold_id)}, "overage": {event.overage}, "deducted": {event.amount},'
        f' "transfer_to": {_quoted(transfer_to)}, "deduction_id": "{_id(ids.DEDUCTION, event)}"}}'
    )
    return Line(
        "deduction" if transfer_to is None else "transfer_out",
        event.overage - event.amount,
        lots,
        sorted(numbers) if hold_id is None else _with(numbers, hold_id),
        document(details.encode()),
        event.feature,
        None,
    )


def is_plain(event: e.Deducted) -> bool:
    """Whether it is one of most deductions: all from one lot, which is all that is kept of it."""
    return (
        len(event.lots) == 1
        and event.lots[0].amount == event.amount
        and not event.overage
        and not event.captured
        and event.hold_id is None
        and event.transfer_to is None
    )


def plain_deduction(row: Mapping[str, Any]) -> dict[str, Any]:
    """The `lots` and `details` of a deduction whose row names a lot instead."""
    key, taken = ids.stream_key(row["account_id"]), -row["amount"]
    details = {
        "hold_id": None,
        "overage": 0,
        "deducted": taken,
        "transfer_to": None,
        "deduction_id": ids.event_id(ids.DEDUCTION, key, row["version"]),
    }
    grant_id = ids.event_id(ids.GRANT, key, row["lot"])
    return {"lots": [{"amount": taken, "grant_id": grant_id}], "details": details}


def _released(event: e.Released) -> Line:
    lots, numbers = _lots(event.lots)
    details = (
        f'{{"note": {_quoted(event.note)}, "reason": "{event.reason}",'
        f' "hold_id": {_quoted(event.hold_id)}, "released": {event.amount}}}'
    )
    subjects = _with(numbers, event.hold_id)
    return Line("release", 0, lots, subjects, document(details.encode()), None, event.lapsed_at)


def _refunded(event: e.Refunded) -> Line:
    details = {
        "reason": event.reason,
        "overage": event.overage,
        "refunded": event.amount,
        "refund_id": _id(ids.REFUND, event),
        "deduction_id": event.deduction_id,
    }
    total = event.amount - event.overage
    return _line("refund", total, event.lots, (event.deduction_id,), details)


def _expired(event: e.Expired) -> Line:
    amount, details = -_sum(event.lots), dict[str, Any]()
    return _line("expiry", amount, event.lots, (), details, happened_at=event.expired_at)


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
    return _line("revocation", -_sum(event.lots), event.lots, (event.grant_id,), details)


def _recovered(event: e.Recovered) -> Line:
    details = {
        "debt": event.debt,
        "grant_id": event.grant_id,
        "written_off": event.written_off,
    }
    return _line("recovery", -event.amount, (LotAmount(event.grant_id, event.amount),), (), details)


def _reinstated(event: e.Reinstated) -> Line:
    details = {
        "reason": event.reason,
        "grant_id": event.grant_id,
        "reinstated": event.amount,
        "written_off": event.written_off,
        "debt_cancelled": _sum(event.debt_cancelled),
        "reinstatement_id": _id(ids.REINSTATEMENT, event),
    }
    return _line(
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
    return _line("expiry_change", 0, (), (event.grant_id,), details)


def _overage_limit_set(event: e.OverageLimitSet) -> Line:
    details = {"limit": event.limit, "period": event.period}
    return _line("overage_limit", 0, (), (), details)


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
