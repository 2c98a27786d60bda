"""What was billed for one period of a subscription, and what each bill gets of it.

Going up and down between plans mints nothing: within a period no more is granted than the highest
plan that was billed for it is worth (domain/README.md, 11). Who gets how much is worked out of all
bills of the period in the order in which they were paid, not in the order in which they are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.amounts import Credits
from creditledger.domain.books import Books
from creditledger.domain.events import Event
from creditledger.domain.provider_commands import Provider
from creditledger.domain.values import value


@value()
class BilledLine:
    """A line of a bill, and what all its units are worth.

    `proration` lines change the plan within the period: `credited` ones give the rest of the old
    plan back, the others begin the new one.
    """

    price_id: str
    asset: str
    credits: Credits
    proration: bool
    credited: bool


@value()
class Bill:
    """The lines of one payment that lie in the period, the first of them from `start` on."""

    provider_id: str
    paid_at: datetime
    start: datetime
    lines: tuple[BilledLine, ...]


@value(kw_only=True)
class PeriodBilled(Event):
    """A payment pays for the period, or for a part of it; `provider_id` names the payment."""

    TOPIC: ClassVar[str] = "creditledger.PeriodBilled"

    provider: Provider
    subscription_id: str
    period_end: datetime
    provider_id: str
    paid_at: datetime
    start: datetime
    lines: tuple[BilledLine, ...]


BILLING_EVENTS: tuple[type[Event], ...] = (PeriodBilled,)

#: What each payment gets, by the payment's name, then by asset.
Allotments = Mapping[str, Mapping[str, Credits]]


class BillingPeriod(Aggregate):
    """One period of a subscription, known by its end: proration lines lie in it and end with it."""

    __slots__ = ("bills", "period_end", "provider", "subscription_id")

    EVENTS: ClassVar[tuple[type[Event], ...]] = BILLING_EVENTS

    def __init__(self, stream: UUID) -> None:
        super().__init__(stream)
        self.provider: Provider = "stripe"
        self.subscription_id = ""
        self.period_end: datetime | None = None
        self.bills: dict[str, Bill] = {}

    def identity(self) -> dict[str, Any]:
        """Which period it is."""
        return {
            "provider": self.provider,
            "subscription_id": self.subscription_id,
            "period_end": self.period_end,
        }

    def _evolve(self, event: Event) -> None:
        match event:
            case PeriodBilled():
                self.provider, self.subscription_id = event.provider, event.subscription_id
                self.period_end = event.period_end
                self.bills[event.provider_id] = Bill(
                    event.provider_id, event.paid_at, event.start, event.lines
                )


def find_period(
    provider: Provider, subscription_id: str, end: datetime, books: Books
) -> BillingPeriod:
    """A subscription's period, new where no bill for it was told of."""
    period = books.get(BillingPeriod, ids.period_stream(provider, subscription_id, end))
    if period.version == 0:
        period.provider, period.subscription_id, period.period_end = provider, subscription_id, end
    return period


def record_bill(period: BillingPeriod, bill: Bill, books: Books) -> None:
    """Keep that a payment pays for the period."""
    books.record(
        period,
        PeriodBilled,
        provider_id=bill.provider_id,
        paid_at=bill.paid_at,
        start=bill.start,
        lines=bill.lines,
    )


def allot(bills: Iterable[Bill]) -> Allotments:
    """What each bill of a period gets, the earlier paid one first.

    Each gets its own worth, up to what the period's ceiling leaves of it.
    """
    ordered = sorted(bills, key=lambda bill: (bill.paid_at, bill.provider_id))
    assets = sorted({line.asset for bill in ordered for line in bill.lines})
    allotments: dict[str, dict[str, Credits]] = {bill.provider_id: {} for bill in ordered}
    for asset in assets:
        ceiling, granted = _Ceiling(), 0
        for bill in ordered:
            lines = _Lines.of([line for line in bill.lines if line.asset == asset])
            ceiling.take_in(lines)
            part = max(0, min(lines.worth, ceiling.credits - granted))
            allotments[bill.provider_id][asset] = Credits(part)
            granted += part
    return allotments


@value()
class _Lines:
    """One bill's lines of one asset: plans billed in whole, by price; what changes of plan began,
    the largest line of each price, and which prices they gave back; what they come to together.
    """

    whole: Mapping[str, int]
    begun: Mapping[str, int]
    returned: frozenset[str]
    changed: int

    @staticmethod
    def of(lines: Sequence[BilledLine]) -> _Lines:
        whole: dict[str, int] = {}
        begun: dict[str, int] = {}
        changed = 0
        for line in lines:
            if not line.proration:
                whole[line.price_id] = whole.get(line.price_id, 0) + line.credits
            elif line.credited:
                changed -= line.credits
            else:
                changed += line.credits
                _keep_larger(begun, {line.price_id: line.credits})
        returned = frozenset(line.price_id for line in lines if line.proration and line.credited)
        return _Lines(whole, begun, returned, changed)

    @property
    def worth(self) -> int:
        """What the bill would grant if it were the period's only one."""
        return sum(self.whole.values()) + max(0, self.changed)

    @property
    def height(self) -> int:
        """What the plan is worth that the bill's changes led to.

        Of several changes one after another, a price that was begun and given back again was
        only passed through; yet it was the plan for a while.
        """
        led_to = sum(worth for price, worth in self.begun.items() if price not in self.returned)
        return max(led_to, *self.begun.values(), 0)


@dataclass(slots=True)
class _Ceiling:
    """What the highest plan is worth that was billed for the period so far.

    A change that gives nothing back adds to the plan instead of replacing it: each price that was
    added counts once. Where several prices were billed together and one of them was replaced, the
    others stay beside the new plan.
    """

    highest: int = 0
    whole: dict[str, int] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)

    def take_in(self, lines: _Lines) -> None:
        """Let a bill's plans count."""
        _keep_larger(self.whole, lines.whole)
        self.replaced |= lines.returned
        if lines.returned:
            self.highest = max(self.highest, lines.height + self._kept())
        else:
            _keep_larger(self.added, lines.begun)

    def _kept(self) -> int:
        if self.replaced.isdisjoint(self.whole):
            return 0
        return sum(worth for price, worth in self.whole.items() if price not in self.replaced)

    @property
    def credits(self) -> int:
        """The ceiling."""
        return max(self.highest, sum(self.whole.values())) + sum(self.added.values())


def _keep_larger(known: dict[str, int], told: Mapping[str, int]) -> None:
    for price, worth in told.items():
        known[price] = max(known.get(price, 0), worth)
