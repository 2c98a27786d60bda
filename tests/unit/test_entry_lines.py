"""What is written straight away is what an encoder would have written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.events import Context, LotAmount
from creditledger.projections.copying import jsonb
from creditledger.projections.entry_lines import line_of

STREAM = ids.account_id("ada", "credits")
KEY = ids.stream_key(STREAM)


def lot(number: int, amount: int) -> LotAmount:
    return LotAmount(ids.event_id(ids.GRANT, KEY, number), Credits(amount))


@pytest.mark.parametrize("transfer_to", [None, 'é "quoted"\n\\ \x7f'])
@pytest.mark.parametrize("hold_id", [None, ids.event_id(ids.HOLD, KEY, 3)])
@pytest.mark.parametrize(
    "lots", [(), (lot(1, 5),), (lot(12, 5), lot(2, 7)), (lot(1, 2), lot(1, 3))]
)
def test_a_deductions_documents(
    lots: tuple[LotAmount, ...], hold_id: str | None, transfer_to: str | None
) -> None:
    line = line_of(
        e.Deducted(
            originator_id=STREAM,
            originator_version=4,
            recorded_at=datetime(2026, 8, 1, tzinfo=UTC),
            context=Context("client:test", "rcp_1", "rcp_1"),
            customer_id="ada",
            asset="credits",
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
    merged = {leg.grant_id: 0 for leg in lots}
    for leg in lots:
        merged[leg.grant_id] += leg.amount
    assert line.lots == jsonb([{"amount": n, "grant_id": of} for of, n in merged.items()])
    numbers = {ids.version_of(of) for of in (*merged, *filter(None, (hold_id,)))}
    assert list(line.subjects) == sorted(numbers)
