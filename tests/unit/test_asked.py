"""What a refused command asked for, as its receipt remembers it (domain/README.md, 9.1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from creditledger.domain import commands as c
from creditledger.domain import ids
from creditledger.domain import provider_commands as p
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.answers import asked


def account(customer_id: str, asset: str) -> CreditAccount:
    found = CreditAccount(ids.account_id(customer_id, asset))
    found.customer_id, found.asset = customer_id, asset
    return found


GRANT = c.GrantCredits(
    customer_id="ada",
    asset="tokens",
    amount=Credits(77),
    expires_at=datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    priority=0,
    cost_basis=Money(999, "EUR"),
    reference="invoice 17",
    metadata={"order": "a-1", "gift": False},
)
GRANT_ASKED = {
    "metadata": {"order": "a-1", "gift": False},
    "amount": 77,
    "source": "adjustment",
    "expires_at": "2026-01-01T00:00:00.000000Z",
    "priority": 0,
    "cost_basis": {"amount": 999, "currency": "EUR"},
    "reference": "invoice 17",
}


def test_all_that_was_sent_is_told_in_the_forms_of_answers() -> None:
    told = asked(GRANT, account("ada", "tokens"))

    assert told == GRANT_ASKED
    assert msgspec.json.decode(msgspec.json.encode(told)) == told


def test_whose_it_is_is_told_where_nothing_beside_says_it() -> None:
    whose = {"customer_id": "ada", "asset": "tokens"}

    assert asked(GRANT, None) == {**GRANT_ASKED, **whose}
    assert asked(GRANT, account("bob", "credits")) == {**GRANT_ASKED, **whose}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (c.ChangeExpiry(grant_id="grt_1", expires_at=None), {"grant_id", "expires_at"}),
        (c.SetOverageLimit(customer_id="ada", limit=None), {"limit", "period"}),
        (c.RefundDeduction(deduction_id="ded_1"), {"deduction_id", "expired_lots"}),
        (c.ReleaseHold(hold_id="hld_1"), {"hold_id"}),
    ],
    ids=lambda value: value.NAME if isinstance(value, c.Command) else "",
)
def test_nothing_is_told_only_where_nothing_was_asked(command: c.Command, told: set[str]) -> None:
    """None that had to be sent says something: never, without limit."""
    assert asked(command, account("ada", "credits")).keys() == told


def test_a_transfer_tells_both_customers() -> None:
    command = c.TransferCredits(from_customer_id="ada", to_customer_id="bob", amount=Credits(5))

    told = asked(command, account("ada", "credits"))

    assert told == {"from_customer_id": "ada", "to_customer_id": "bob", "amount": 5}


def test_what_is_nested_is_told_in_plain_values() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    command = p.RecordPurchase(
        provider="stripe",
        provider_id="cs_1",
        provider_customer_id=None,
        customer_id="ada",
        paid=Money(5, "USD"),
        paid_at=moment,
        lines=(p.PurchaseLine(price_id="price_1", period=p.Period(moment, moment)),),
    )

    told = asked(command, None)

    assert msgspec.json.decode(msgspec.json.encode(told)) == told
    period = {"start": "2026-01-01T00:00:00.000000Z", "end": "2026-01-01T00:00:00.000000Z"}
    assert told["lines"][0]["period"] == period
