"""What is written straight away is what an encoder would have written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.events import Balance, Context, LotAmount
from creditledger.projections.copying import NULL, jsonb
from creditledger.projections.entries import Entries
from creditledger.projections.entry_lines import Line, line_of, plain_deduction

STREAM = ids.account_id("ada", "credits")
KEY = ids.stream_key(STREAM)


def lot(number: int, amount: int) -> LotAmount:
    return LotAmount(ids.event_id(ids.GRANT, KEY, number), Credits(amount))


#: What all these events say.
SAME: Final[dict[str, Any]] = {
    "originator_id": STREAM,
    "originator_version": 4,
    "recorded_at": datetime(2026, 8, 1, tzinfo=UTC),
    "context": Context("client:test", "rcp_1", "rcp_1"),
    "customer_id": "ada",
    "asset": "credits",
}

LOTS = [(), (lot(1, 5),), (lot(12, 5), lot(2, 7)), (lot(1, 2), lot(1, 3))]


def assert_concerns(line: Line, lots: tuple[LotAmount, ...], *subjects: str | None) -> None:
    merged = {leg.grant_id: 0 for leg in lots}
    for leg in lots:
        merged[leg.grant_id] += leg.amount
    assert line.lots == jsonb([{"amount": n, "grant_id": of} for of, n in merged.items()])
    numbers = {ids.version_of(of) for of in (*merged, *filter(None, subjects))}
    assert list(line.subjects) == sorted(numbers)


@pytest.mark.parametrize("transfer_to", [None, 'é "quoted"\n\\ \x7f'])
@pytest.mark.parametrize("hold_id", [None, ids.event_id(ids.HOLD, KEY, 3)])
@pytest.mark.parametrize("lots", LOTS)
def test_a_deductions_documents(
    lots: tuple[LotAmount, ...], hold_id: str | None, transfer_to: str | None
) -> None:
    line = line_of(
        e.Deducted(
            **SAME,
            amount=Credits(20),
            lots=lots,
            overage=Credits(3),
            hold_id=hold_id,
            transfer_to=transfer_to,
        )
    )
    assert line.details == jsonb(
        {
            "hold_id": hold_id,
            "overage": 3,
            "deducted": 20,
            "transfer_to": transfer_to,
            "deduction_id": ids.event_id(ids.DEDUCTION, KEY, 4),
        }
    )
    assert_concerns(line, lots, hold_id)


@pytest.mark.parametrize("captured", LOTS)
@pytest.mark.parametrize("beyond", LOTS)
def test_a_capture_names_each_lot_once(
    captured: tuple[LotAmount, ...], beyond: tuple[LotAmount, ...]
) -> None:
    hold_id = ids.event_id(ids.HOLD, KEY, 3)
    line = line_of(
        e.Deducted(
            **SAME,
            amount=Credits(20),
            lots=beyond,
            overage=Credits(0),
            hold_id=hold_id,
            captured=captured,
        )
    )
    assert_concerns(line, captured + beyond, hold_id)


@pytest.mark.parametrize("lots", LOTS)
def test_a_holds_documents(lots: tuple[LotAmount, ...]) -> None:
    expires_at = datetime(2026, 8, 1, 0, 15, 0, 7, tzinfo=UTC)
    line = line_of(
        e.Held(**SAME, amount=Credits(20), expires_at=expires_at, lots=lots, feature="chat")
    )
    hold_id = ids.event_id(ids.HOLD, KEY, 4)
    assert line.details == jsonb(
        {"held": 20, "hold_id": hold_id, "expires_at": "2026-08-01T00:15:00.000007Z"}
    )
    assert_concerns(line, lots, hold_id)
    assert (line.kind, line.amount, line.feature, line.happened_at) == ("hold", 0, "chat", None)


@pytest.mark.parametrize("lapsed_at", [None, datetime(2026, 7, 31, tzinfo=UTC)])
@pytest.mark.parametrize("note", [None, 'é "quoted"\n\\ \x7f'])
@pytest.mark.parametrize("lots", LOTS)
def test_a_releases_documents(
    lots: tuple[LotAmount, ...], note: str | None, lapsed_at: datetime | None
) -> None:
    hold_id = ids.event_id(ids.HOLD, KEY, 3)
    line = line_of(
        e.Released(
            **SAME,
            hold_id=hold_id,
            reason="voided",
            amount=Credits(20),
            lots=lots,
            lapsed_at=lapsed_at,
            note=note,
        )
    )
    assert line.details == jsonb(
        {"note": note, "reason": "voided", "hold_id": hold_id, "released": 20}
    )
    assert_concerns(line, lots, hold_id)
    assert (line.kind, line.amount, line.feature) == ("release", 0, None)
    assert line.happened_at == lapsed_at


def test_a_deduction_from_one_lot_names_the_lot_and_its_row_tells_the_rest() -> None:
    plain = e.Deducted(**SAME, amount=Credits(20), lots=(lot(12, 20),), overage=Credits(0))
    line = line_of(plain)
    assert (line.lot, line.amount, line.subjects) == (12, -20, ())
    assert (line.lots, line.details) == (NULL, NULL)
    row = {"account_id": STREAM, "version": 4, "amount": line.amount, "lot": line.lot}
    told = plain_deduction(row)
    assert told["lots"] == [{"amount": 20, "grant_id": ids.event_id(ids.GRANT, KEY, 12)}]
    # As a row tells it that holds all of it, down to the order of its names.
    beside = line_of(replace(plain, hold_id=ids.event_id(ids.HOLD, KEY, 3)))
    assert (beside.lot, beside.subjects) == (None, [3, 12])
    whole = told["details"] | {"hold_id": ids.event_id(ids.HOLD, KEY, 3)}
    assert (beside.lots, beside.details) == (jsonb(told["lots"]), jsonb(whole))


@pytest.mark.parametrize("feature", [None, "chat"])
@pytest.mark.parametrize("correlation_id", ["rcp_1", "order é"])
def test_the_row_of_a_plain_deduction_is_what_it_is_of_one_that_says_more(
    correlation_id: str, feature: str | None
) -> None:
    amount, at = Credits(20), SAME["recorded_at"]
    plain = e.Deducted(
        **SAME | {"context": Context("client:test", "rcp_1", correlation_id)},
        after=Balance(3, 5, 7, 11, 13),
        amount=amount,
        lots=(lot(12, 20),),
        overage=Credits(0),
        feature=feature,
    )
    # What happened when it was recorded has the same columns, whichever way they are packed.
    more = replace(plain, context=replace(plain.context, happened_at=at))
    assert Entries().rows([(9, plain)]) == Entries().rows([(9, more)])
