"""Credits are whole numbers up to 2^53 - 1; money is minor units of one currency."""

from __future__ import annotations

import pytest

from creditledger.domain.amounts import CREDITS_MAX, Money, proportion

PRICE = Money(1000, "USD")


def test_the_largest_amount_is_the_largest_integer_that_json_readers_keep_exact() -> None:
    assert CREDITS_MAX == 2**53 - 1
    assert int(float(CREDITS_MAX)) == CREDITS_MAX
    assert int(float(CREDITS_MAX + 2)) != CREDITS_MAX + 2


@pytest.mark.parametrize("amount", [0, 1, 10**18])
def test_money_is_zero_or_more(amount: int) -> None:
    assert Money(amount, "EUR").amount == amount


def test_money_is_never_negative() -> None:
    with pytest.raises(ValueError, match="money cannot be negative: -1"):
        Money(-1, "EUR")


@pytest.mark.parametrize("currency", ["", "EU", "EURO", "eur", "EU1", "ÄÖÜ", "EUR\n", " EUR"])
def test_a_currency_is_three_capitals(currency: str) -> None:
    with pytest.raises(ValueError, match="not an ISO 4217 currency code"):
        Money(1, currency)


def test_a_share_of_money_is_rounded_down_and_keeps_its_currency() -> None:
    assert PRICE.share(1, 3) == Money(333, "USD")
    assert PRICE.share(2, 3) == Money(666, "USD")
    assert PRICE.share(3, 3) == PRICE
    assert PRICE.share(0, 3) == Money(0, "USD")


def test_a_share_is_exact_where_a_float_would_not_be() -> None:
    assert Money(CREDITS_MAX, "USD").share(CREDITS_MAX - 1, CREDITS_MAX).amount == CREDITS_MAX - 1


def test_proportions_of_running_totals_leave_nothing_over() -> None:
    """Three partial refunds of a third revoke exactly what one whole refund does."""
    granted, paid = 1000, 999
    totals = [proportion(granted, refunded, paid) for refunded in (333, 666, 999)]
    assert totals == [333, 666, 1000]


@pytest.mark.parametrize(
    ("refunded", "expected"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (199, 99), (200, 100)]
)
def test_a_proportion_is_rounded_down(refunded: int, expected: int) -> None:
    assert proportion(100, refunded, 200) == expected


def test_a_proportion_is_exact_at_the_largest_amounts() -> None:
    assert proportion(CREDITS_MAX, CREDITS_MAX, CREDITS_MAX) == CREDITS_MAX
    assert proportion(CREDITS_MAX, CREDITS_MAX - 1, CREDITS_MAX) == CREDITS_MAX - 1
