"""Quantities: credits are whole numbers, money is minor units of one currency. Never floats."""

from __future__ import annotations

import re
from typing import NewType

from creditledger.domain.values import value

Credits = NewType("Credits", int)
"""A quantity of credits of one asset, 0 to `CREDITS_MAX`."""

#: The largest amount in a command and the largest sum of an account: the largest integer
#: that every JSON reader keeps exact (RFC 8259, section 6).
CREDITS_MAX = Credits(2**53 - 1)

NO_CREDITS = Credits(0)

_CURRENCY = re.compile(r"[A-Z]{3}")


@value()
class Money:
    """An amount of minor units (cents) of one ISO 4217 currency, zero or more.

    Raises ValueError where the amount is negative, or the currency is not three capitals.
    """

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(f"money cannot be negative: {self.amount}")
        if not _CURRENCY.fullmatch(self.currency):
            raise ValueError(f"not an ISO 4217 currency code: {self.currency!r}")

    def share(self, part: int, whole: int) -> Money:
        """The part of this money that `part` of `whole` stands for, rounded down.

        >>> Money(1000, "USD").share(1, 3)
        Money(amount=333, currency='USD')
        """
        return Money(self.amount * part // whole, self.currency)


def proportion(total: int, part: int, whole: int) -> Credits:
    """`floor(total × part ÷ whole)` in integers, on running totals (domain/README.md, 2.3)."""
    return Credits(total * part // whole)
