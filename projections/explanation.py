"""Why an entry touched the lots it touched: their places then, their cost, who paid for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.answers import instant
from creditledger.domain.books import rebuild
from creditledger.domain.events import AccountEvent, Event, LotAmount
from creditledger.domain.ids import EventRef
from creditledger.domain.lots import Lot
from creditledger.domain.store import Stream


class Past(Protocol):
    """The log as it was before an event."""

    def before(self, ref: EventRef) -> tuple[Stream, Event] | None:
        """An event, and what was stored of its stream before it; None where it is not there."""


def explain(log: Past, ref: EventRef) -> dict[str, Any] | None:
    """Why an account's event touched its lots; None where there is no such event."""
    found = log.before(ref)
    if found is None or not isinstance(found[1], AccountEvent):
        return None
    account = rebuild(CreditAccount, ref.stream, found[0])
    assert isinstance(account, CreditAccount)
    return explanation(account, found[1])


def explanation(before: CreditAccount, event: AccountEvent) -> dict[str, Any]:
    """For each lot that an event touched: why this one, what it cost, which payment paid for it.

    `before` is the account as the event found it, with all earlier events and no later ones.
    `place` counts usable lots in burn order at that moment, from 1, or, for what a hold had
    pinned, its pins; it is None where no order decided.
    """
    account = before.copy()
    account.lots.advance(event.recorded_at)
    lots = {lot.grant_id: lot for lot in account.lots}
    lots |= {terms.grant_id: Lot.of(terms, 0) for terms in _reopened(event)}
    if isinstance(event, e.Granted):
        account.apply(event)
        lots |= {lot.grant_id: lot for lot in account.lots}
    return {
        "entry_id": ids.event_id(ids.ENTRY, before.key, event.originator_version),
        "recorded_at": instant(event.recorded_at),
        "lots": [
            {**_lot_answer(lots[grant_id], amount), "place": place, "of": of, "why": why}
            for grant_id, amount, place, of, why in _reasons(account, event)
        ],
    }


#: A lot, how much of it, its place and the number of places, and why it was this one.
_Reason = tuple[str, int, int | None, int | None, str]


def _reasons(account: CreditAccount, event: AccountEvent) -> Iterator[_Reason]:
    match event:
        case e.Granted():
            grant_id = ids.event_id(ids.GRANT, account.key, event.originator_version)
            lot = account.lots.get(grant_id)
            if lot is not None:
                yield from _in_burn_order(account, [LotAmount(grant_id, lot.remaining)])
        case e.Held():
            yield from _in_burn_order(account, event.lots)
        case e.Deducted():
            if event.hold_id is not None:
                pins = account.holds[event.hold_id].lots
                yield from _pinned(event.captured, pins, "spent in the order it was pinned")
            yield from _in_burn_order(account, event.lots)
        case e.Released():
            pins = account.holds[event.hold_id].lots
            yield from _pinned(event.lots, pins, "given back to the lot that the hold had pinned")
        case e.Refunded():
            yield from _plainly(event.lots, "it had paid; what was spent last is given back first")
        case e.Expired():
            yield from _plainly(event.lots, f"it ended at {instant(event.expired_at)}")
        case e.Revoked():
            yield from _revoked(event)
        case e.Recovered():
            why = "credits came back to it, and its grant had been revoked after they were spent"
            yield from _plainly([LotAmount(event.grant_id, event.amount)], why)
        case e.Reinstated():
            yield from _plainly(event.lots, "its grant was reinstated")


def _reopened(event: AccountEvent) -> tuple[e.LotTerms, ...]:
    return event.reopened if isinstance(event, e.Refunded | e.Reinstated) else ()


def _plainly(legs: Iterable[LotAmount], why: str) -> Iterator[_Reason]:
    for leg in legs:
        yield leg.grant_id, leg.amount, None, None, why


def _pinned(legs: Iterable[LotAmount], pins: tuple[LotAmount, ...], why: str) -> Iterator[_Reason]:
    places = {pin.grant_id: place for place, pin in enumerate(pins, 1)}
    for leg in legs:
        yield leg.grant_id, leg.amount, places[leg.grant_id], len(pins), why


def _revoked(event: e.Revoked) -> Iterator[_Reason]:
    for leg in event.lots:
        own = leg.grant_id == event.grant_id
        why = "its grant was revoked" if own else f"{event.payment_id} had paid for it, too"
        yield leg.grant_id, leg.amount, None, None, why


def _in_burn_order(account: CreditAccount, legs: Iterable[LotAmount]) -> Iterator[_Reason]:
    usable = [
        lot for lot in account.lots.burn_order() if lot.remaining and account.lots.is_started(lot)
    ]
    places = {lot.grant_id: place for place, lot in enumerate(usable)}
    for leg in legs:
        place = places.get(leg.grant_id)
        if place is None:
            lot = account.lots.get(leg.grant_id)
            starts = instant(lot.effective_at) if lot else None
            yield (
                leg.grant_id,
                leg.amount,
                None,
                None,
                f"it has no place before it starts, {starts}",
            )
            continue
        later = usable[place + 1] if place + 1 < len(usable) else None
        why = _why_before(usable[place], later, place)
        yield leg.grant_id, leg.amount, place + 1, len(usable), why


def _why_before(lot: Lot, later: Lot | None, place: int) -> str:
    """What puts a lot before the next one (domain/README.md, 4.1)."""
    if later is None:
        return "the only usable lot" if place == 0 else "the last usable lot"
    if lot.priority != later.priority:
        return f"priority {lot.priority} is spent before {later.priority} ({later.grant_id})"
    if lot.expires_at != later.expires_at:
        ends = "never does" if later.expires_at is None else f"on {instant(later.expires_at)}"
        return f"it expires first, on {instant(lot.expires_at)}; {later.grant_id} {ends}"
    if lot.effective_at != later.effective_at:
        starts = instant(later.effective_at)
        return f"it started first, {instant(lot.effective_at)}; {later.grant_id} started {starts}"
    return f"it was granted before {later.grant_id}"


def _lot_answer(lot: Lot, amount: int) -> dict[str, Any]:
    cost = lot.cost_basis and lot.cost_basis.share(amount, lot.granted)
    return {
        "grant_id": lot.grant_id,
        "amount": amount,
        "source": lot.source,
        "priority": lot.priority,
        "effective_at": instant(lot.effective_at),
        "expires_at": instant(lot.expires_at),
        "cost": cost and {"amount": cost.amount, "currency": cost.currency},
        "payment_id": lot.payment_id,
    }
