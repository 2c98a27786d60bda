"""Plain deductions are taken in as one, and whoever looks sees no difference: of any story, and of
any that somebody has tampered with, the proof finds the same with and without the short way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.domain import commands as c
from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import Credits
from creditledger.domain.events import AccountEvent, Deducted, LotAmount
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Receipt, Wish
from creditledger.infra.frozen_log import StoredEvent
from creditledger.projections.account_audit import AccountAudit
from creditledger.projections.findings import Findings
from creditledger.projections.frozen_log import Stored
from creditledger.projections.plain_deductions import PlainDeductions
from memory_store import MemoryStore

BEGINS_AT = datetime(2026, 8, 1, tzinfo=UTC)
STREAM = ids.account_id("ada", "credits")
Tampering = Callable[[Deducted], Deducted]

KINDS = ("deduct",) * 8 + ("grant", "scheduled", "hold", "capture", "limit", "wait", "lapse")
MOVES = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 30)), max_size=40)


def story(moves: Sequence[tuple[str, int]]) -> list[AccountEvent]:
    """What an account's events are after these moves; those that are refused leave none."""
    now, store, holds = BEGINS_AT, MemoryStore(), list[str]()
    ledger = Ledger(store, now=lambda: now)
    for number, (kind, size) in enumerate((("grant", 30), ("grant", 9), *moves)):
        if kind == "wait":
            now += timedelta(hours=size)
        elif kind == "lapse":
            now += timedelta(days=size)
        else:
            command = _command(kind, size, now, holds)
            wish = Wish(
                command=command,
                actor="client:test",
                client_id="test",
                key=str(number),
                fingerprint=number.to_bytes(32),
            )
            (outcome,) = ledger.handle([wish])
            if isinstance(outcome, Receipt) and "hold_id" in outcome.answer and kind == "hold":
                holds.append(str(outcome.answer["hold_id"]))
    events = store.streams.get(STREAM, ())
    return [event for event in events if isinstance(event, AccountEvent)]


def _command(kind: str, size: int, now: datetime, holds: list[str]) -> c.Command:
    amount = Credits(size)
    match kind:
        case "grant":
            days = size if size % 2 else None
            return c.GrantCredits(
                customer_id="ada", amount=Credits(9 * size), expires_after_days=days
            )
        case "scheduled":
            later = now + timedelta(hours=size)
            return c.GrantCredits(
                customer_id="ada", amount=amount, effective_at=later, priority=size
            )
        case "hold":
            return c.HoldCredits(customer_id="ada", amount=amount, expires_in=3_600 * size)
        case "capture" if holds:
            return c.CaptureHold(hold_id=holds.pop())
        case "limit":
            return c.SetOverageLimit(customer_id="ada", limit=Credits(size))
    return c.DeductCredits(customer_id="ada", amount=amount)


def audited(
    events: Sequence[AccountEvent], checkpoint: int, *, short: bool
) -> tuple[Any, list[str], int]:
    """Everything that a proof knows of an account in the end, and what it found."""
    findings, taken = Findings(), 0
    with pytest.MonkeyPatch.context() as patch:
        takes = PlainDeductions.takes

        def counted(run: PlainDeductions, rows: Sequence[Stored], first: int, up_to: int) -> int:
            nonlocal taken
            took = takes(run, rows, first, up_to) if short else 0
            taken += took
            return took

        patch.setattr(PlainDeductions, "takes", counted)
        audit = AccountAudit(STREAM, findings, checkpoint=checkpoint)
        rows = [_stored(position, event) for position, event in enumerate(events, start=1)]
        place = 0
        while place < len(rows):
            plain = audit.take_plain(rows, place)
            if not plain:
                audit.take_in(rows[place].position, events[place])
            place += plain or 1
        audit.close(BEGINS_AT + timedelta(days=900))
    sums = asdict(audit.sums)
    # Where a lot that is empty stands in the queue is nobody's business.
    del sums["_order"]
    known = (_state(audit.account), _state(audit.seen), sums, audit.trails, audit.transfers_out)
    return known, [str(each) for each in findings.kept], taken


def _stored(position: int, event: AccountEvent) -> StoredEvent:
    version, at = event.originator_version, event.recorded_at
    return StoredEvent(position, event.TOPIC, STREAM, version, at, event, None)


def _state(account: CreditAccount | None) -> Any:
    assert account is not None
    return (
        account.version,
        account.recorded_at,
        account.reached,
        account.balance(),
        account.lots.burn_order(),
        account.holds,
    )


def _legs(event: Deducted, change: Callable[[LotAmount], LotAmount]) -> Deducted:
    return replace(event, lots=tuple(map(change, event.lots)))


def _other_lot(leg: LotAmount) -> LotAmount:
    other = "1" if leg.grant_id[30:] == "2" else "2"
    return replace(leg, grant_id=leg.grant_id[:30] + other)


def _more(leg: LotAmount) -> LotAmount:
    return replace(leg, amount=Credits(leg.amount + 1))


def _past_the_end(event: Deducted) -> Deducted:
    """More than the lot has, and all figures say so."""
    after = replace(event.after, available=event.after.available - 90)
    legs = tuple(replace(leg, amount=Credits(leg.amount + 90)) for leg in event.lots)
    return replace(event, amount=Credits(event.amount + 90), lots=legs, after=after)


def _after(column: str) -> Tampering:
    def tampered(event: Deducted) -> Deducted:
        figures = {**asdict(event.after), column: getattr(event.after, column) + 1}
        return replace(event, after=e.Balance(**figures))

    return tampered


TAMPERINGS: dict[str, Tampering] = {
    "nothing": lambda event: event,
    "the amount": lambda event: replace(event, amount=Credits(event.amount + 1)),
    "nothing spent": lambda event: replace(_legs(event, _none), amount=Credits(0)),
    "a lot's amount": lambda event: _legs(event, _more),
    "more than the lot has": _past_the_end,
    "a lot": lambda event: _legs(event, _other_lot),
    "two lots": lambda event: replace(event, lots=event.lots * 2),
    "no lots": lambda event: replace(event, lots=()),
    "overage": lambda event: replace(event, overage=Credits(1)),
    "a transfer": lambda event: replace(event, transfer_to="bob"),
    "a hold": lambda event: replace(event, hold_id="hld_unknown"),
    "what was captured": lambda event: replace(event, captured=event.lots),
    "the customer": lambda event: replace(event, customer_id="bob"),
    "the asset": lambda event: replace(event, asset="tokens"),
    "an earlier time": lambda event: replace(event, recorded_at=BEGINS_AT - timedelta(days=1)),
    "a later time": lambda event: replace(event, recorded_at=BEGINS_AT + timedelta(days=800)),
    **{
        f"{column} after it": _after(column)
        for column in ("available", "held", "scheduled", "debt", "overage")
    },
}


def _none(leg: LotAmount) -> LotAmount:
    return replace(leg, amount=Credits(0))


@given(MOVES, st.sampled_from(sorted(TAMPERINGS)), st.integers(0, 50), st.integers(0, 50))
def test_the_short_way_finds_what_the_long_way_finds(
    moves: list[tuple[str, int]], what: str, which: int, checkpoint: int
) -> None:
    events = story(moves)
    places = [place for place, event in enumerate(events) if isinstance(event, Deducted)]
    if places:
        place = places[which % len(places)]
        deducted = events[place]
        assert isinstance(deducted, Deducted)
        events[place] = TAMPERINGS[what](deducted)
    known, found, _ = audited(events, checkpoint, short=True)
    assert (known, found) == audited(events, checkpoint, short=False)[:2]


@pytest.mark.parametrize("what", sorted(TAMPERINGS))
def test_whatever_was_changed_in_a_run_is_found(what: str) -> None:
    events = story([("deduct", 2)] * 9)
    deducted = events[7]
    assert isinstance(deducted, Deducted)
    events[7] = TAMPERINGS[what](deducted)
    known, found, taken = audited(events, 99, short=True)
    assert taken == 9 if what == "nothing" else 0 < taken < 9
    # Where a transfer went is asked of the whole log.
    assert bool(found) == (what not in {"nothing", "a transfer"})
    assert (known, found) == audited(events, 99, short=False)[:2]
