"""Fingerprints tell whether a key came back with the same command (rules 9.2 and 9.4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import ClassVar

import pytest

from creditledger.domain.amounts import Credits, Money
from creditledger.domain.commands import (
    Command,
    DeductCredits,
    GrantCredits,
    HoldCredits,
    SetOverageLimit,
)
from creditledger.domain.values import value
from creditledger.infra.fingerprint import batch_fingerprint, fingerprint

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEN = Credits(10)

DEDUCTION = DeductCredits(customer_id="acme", amount=TEN, feature="chat")


def test_a_fingerprint_is_kept_for_ever() -> None:
    grant = GrantCredits(
        customer_id="acme",
        amount=TEN,
        source="gift",
        expires_at=NOON,
        cost_basis=Money(500, "EUR"),
        metadata={"order": "a-1", "count": 2, "share": 0.5, "paid": True, "note": None},
    )

    assert fingerprint(DEDUCTION).hex() == (
        "889ae7c1d1cd67d764086c350a804978ff83122c75ea54334d3b3e9819ba1b61"
    )
    assert fingerprint(grant).hex() == (
        "927a8cc6b3030e0c022f63a63603dca2ef0c3b6cbec7b492d6ec2f5527fcf804"
    )


def test_a_default_that_is_written_out_changes_nothing() -> None:
    written_out = DeductCredits(
        customer_id="acme", asset="credits", amount=TEN, feature="chat", metadata=None
    )

    assert fingerprint(written_out) == fingerprint(DEDUCTION)


def test_the_order_of_metadata_changes_nothing() -> None:
    one = DeductCredits(customer_id="acme", amount=TEN, metadata={"a": 1, "b": 2})
    other = DeductCredits(customer_id="acme", amount=TEN, metadata={"b": 2, "a": 1})

    assert fingerprint(one) == fingerprint(other)


def test_a_field_of_a_later_version_changes_nothing_where_it_is_not_used() -> None:
    @value(kw_only=True)
    class LaterDeduction(Command):
        NAME: ClassVar[str] = "deduct"

        region: str | None = None
        customer_id: str
        asset: str = "credits"
        amount: Credits
        feature: str | None = None

    later = LaterDeduction(customer_id="acme", amount=TEN, feature="chat")

    assert fingerprint(later) == fingerprint(DEDUCTION)


@pytest.mark.parametrize(
    "other",
    [
        DeductCredits(customer_id="acme", amount=Credits(11), feature="chat"),
        DeductCredits(customer_id="acmE", amount=TEN, feature="chat"),
        DeductCredits(customer_id="acme", amount=TEN, asset="tokens", feature="chat"),
        DeductCredits(customer_id="acme", amount=TEN),
        DeductCredits(customer_id="acme", amount=TEN, feature="chat", metadata={}),
        DeductCredits(customer_id="acme", amount=TEN, feature="chat", happened_at=NOON),
        HoldCredits(customer_id="acme", amount=TEN, feature="chat"),
    ],
)
def test_another_command_has_another_fingerprint(other: Command) -> None:
    assert fingerprint(other) != fingerprint(DEDUCTION)


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (0, False), (None, "null"), (1, "1")]
)
def test_values_that_python_or_a_reader_takes_for_one_another_differ(
    one: str | float | None, other: str | float | None
) -> None:
    prints = {
        fingerprint(DeductCredits(customer_id="acme", amount=TEN, metadata={"x": value}))
        for value in (one, other)
    }

    assert len(prints) == 2


def test_no_limit_differs_from_a_limit_of_zero() -> None:
    without = SetOverageLimit(customer_id="acme", limit=None)
    zero = SetOverageLimit(customer_id="acme", limit=Credits(0))

    assert fingerprint(without) != fingerprint(zero)


def test_a_moment_is_the_same_in_every_time_zone_once_it_is_in_utc() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    one = GrantCredits(customer_id="acme", amount=TEN, expires_at=NOON)
    other = GrantCredits(customer_id="acme", amount=TEN, expires_at=elsewhere.astimezone(UTC))

    assert fingerprint(one) == fingerprint(other)


def test_a_batch_differs_by_its_keys_its_commands_their_order_and_its_mode() -> None:
    a, b = fingerprint(DEDUCTION), fingerprint(HoldCredits(customer_id="acme", amount=TEN))
    batches = [
        batch_fingerprint([("k1", a), ("k2", b)], all_or_nothing=False),
        batch_fingerprint([("k1", a), ("k2", b)], all_or_nothing=True),
        batch_fingerprint([("k2", b), ("k1", a)], all_or_nothing=False),
        batch_fingerprint([("k1", a), ("k3", b)], all_or_nothing=False),
        batch_fingerprint([("k1", a), ("k2", a)], all_or_nothing=False),
        batch_fingerprint([("k1", a)], all_or_nothing=False),
    ]

    assert len(set(batches)) == len(batches)
    assert batches[0] == batch_fingerprint([("k1", a), ("k2", b)], all_or_nothing=False)
