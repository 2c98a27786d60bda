"""A long story of many customers, told to a ledger: every command, refusals among them.

A seed makes it the same each time. What it leads to is whatever the ledger decides; the tests hold
what is read of it against the log.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from creditledger.domain import commands as c
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.commands import Command
from creditledger.domain.errors import Parked
from creditledger.domain.events import OveragePeriod, RevocationPolicy
from creditledger.domain.ledger import Ledger
from creditledger.domain.provider_commands import (
    LinkCustomer,
    PurchaseLine,
    RecordPurchase,
    RefundTotal,
    ReportRefundTotal,
    SetPrice,
)
from creditledger.domain.receipt import Receipt, Wish
from creditledger.domain.store import LedgerStore
from plan_story import PRICES
from subscription_story import life

BEGINS_AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
PACK = "price_Pack500"
SOURCES = ("subscription", "trial", "bundle", "top_up", "adjustment")
ASSETS = ("credits", "credits", "credits", "tokens")

#: How often which command is told, among a hundred.
_WEIGHTS = {
    "grant": 16,
    "deduct": 22,
    "hold": 14,
    "capture": 10,
    "release": 4,
    "refund": 10,
    "revoke": 6,
    "reinstate": 4,
    "change_expiry": 2,
    "overage": 2,
    "transfer": 4,
    "purchase": 3,
    "refund_purchase": 3,
}


class LongStory:
    """Tells commands to a ledger, in batches, while time passes; remembers what was answered."""

    def __init__(self, store: LedgerStore, *, customers: int = 6, seed: int = 7) -> None:
        self.now = BEGINS_AT
        self.ledger = Ledger(store, now=lambda: self.now, cache_limit=50)
        self.customers = [f"customer-{number}" for number in range(customers)]
        self.receipts: list[Receipt] = []
        self._random = Random(seed)
        self._ids: dict[str, list[str]] = {"grant": [], "hold": [], "deduction": [], "payment": []}
        self._count = 0
        self._news: list[Command] = []
        self._parked: list[Command] = []
        self._subscriptions = 0
        self.tell(*PRICES)
        self.tell(SetPrice(provider="stripe", price_id=PACK, credits=Credits(500)))
        for customer in self.customers:
            link = LinkCustomer(
                provider="stripe",
                provider_customer_id=f"cus_{customer}",
                customer_id=customer,
                origin="hand",
                as_of=self.now,
            )
            self.tell(link)

    def tell(self, *commands: Command) -> list[Any]:
        """Let these be decided together, each with a key of its own; return what they were told."""
        wishes = []
        for command in commands:
            self._count += 1
            wishes.append(
                Wish(
                    command=command,
                    actor="client:story",
                    client_id="story",
                    key=f"key-{self._count}",
                    fingerprint=str(self._count).encode(),
                )
            )
        told = self.ledger.handle(wishes)
        for outcome in told:
            if isinstance(outcome, Receipt):
                self.receipts.append(outcome)
                self._remember(outcome)
        return told

    def go_on(self, commands: int, *, batch: int = 20) -> None:
        """Tell so many more commands."""
        kinds = list(_WEIGHTS)
        weights = list(_WEIGHTS.values())
        for _ in range(0, commands, batch):
            self.now += timedelta(seconds=self._random.choice((0, 1, 40, 400, 4_000, 90_000)))
            chosen = self._random.choices(kinds, weights, k=batch)
            self.tell(*(command for kind in chosen if (command := _COMMANDS[kind](self))))
            self._hear_of_subscriptions()

    def _hear_of_subscriptions(self, most: int = 4) -> None:
        """Some news of a subscription's life, which come in no order; what is parked, again."""
        if not self._news:
            self._subscriptions += 1
            customer = self.customers[self._subscriptions % len(self.customers)]
            self._news = list(life(f"{self._subscriptions}", customer))
            self._random.shuffle(self._news)
        told, self._news = self._news[:most], self._news[most:]
        told = [*self._parked, *told]
        self._parked = [
            command
            for command, outcome in zip(told, self.tell(*told), strict=True)
            if isinstance(outcome, Parked)
        ]

    def _remember(self, receipt: Receipt) -> None:
        for kind, known in self._ids.items():
            if (told := receipt.answer.get(f"{kind}_id")) and receipt.outcome == "accepted":
                known.append(str(told))

    def _one(self, kind: str) -> str | None:
        """The id of something that happened lately, or once."""
        known = self._ids[kind]
        if not known:
            return None
        recent = known[-40:]
        return self._random.choice(known if self._random.random() < 0.2 else recent)

    def _amount(self, most: int = 120) -> Credits:
        return Credits(self._random.randint(1, most))

    def _some(self, most: int = 40) -> Credits | None:
        return None if self._random.random() < 0.4 else self._amount(most)

    def _whose(self) -> dict[str, Any]:
        return {
            "customer_id": self._random.choice(self.customers),
            "asset": self._random.choice(ASSETS),
        }

    def _grant(self) -> Command:
        starts = self._random.choice((None, None, None, timedelta(hours=1), timedelta(days=2)))
        ends = self._random.choice((None, timedelta(minutes=20), timedelta(days=1, hours=1)))
        begin = self.now + (starts or timedelta())
        return c.GrantCredits(
            **self._whose(),
            amount=self._amount(300),
            source=self._random.choice(SOURCES),
            effective_at=None if starts is None else begin,
            expires_at=None if ends is None else begin + ends,
            cost_basis=Money(1000, "USD") if self._random.random() < 0.5 else None,
            metadata={"campaign": "autumn", "n": 1} if self._random.random() < 0.3 else None,
        )

    def _deduct(self) -> Command:
        return c.DeductCredits(
            **self._whose(),
            amount=self._amount(),
            feature=self._random.choice(("chat", "image", None)),
            happened_at=self._random.choice((None, BEGINS_AT)),
        )

    def _hold(self) -> Command:
        return c.HoldCredits(
            **self._whose(),
            amount=self._amount(),
            expires_in=self._random.choice((None, 60, 100_000)),
            feature=self._random.choice(("chat", None)),
        )

    def _capture(self) -> Command | None:
        hold_id = self._one("hold")
        final = self._random.random() < 0.6
        if hold_id is None:
            return None
        return c.CaptureHold(hold_id=hold_id, amount=self._some(150), final=final)

    def _release(self) -> Command | None:
        hold_id = self._one("hold")
        return c.ReleaseHold(hold_id=hold_id, reason="gone") if hold_id else None

    def _refund(self) -> Command | None:
        deduction_id = self._one("deduction")
        if deduction_id is None:
            return None
        return c.RefundDeduction(
            deduction_id=deduction_id,
            amount=self._some(),
            expired_lots=self._random.choice(("grace", "grace", "expire")),
        )

    def _revoke(self) -> Command | None:
        grant_id = self._one("grant")
        policies: tuple[RevocationPolicy | None, ...] = (None, "debt", "write_off")
        policy = self._random.choice(policies)
        return (
            c.RevokeGrant(grant_id=grant_id, amount=self._some(), policy=policy)
            if grant_id
            else None
        )

    def _reinstate(self) -> Command | None:
        grant_id = self._one("grant")
        return c.ReinstateGrant(grant_id=grant_id, amount=self._some()) if grant_id else None

    def _change_expiry(self) -> Command | None:
        grant_id = self._one("grant")
        ends = self._random.choice((None, self.now + timedelta(days=3)))
        return c.ChangeExpiry(grant_id=grant_id, expires_at=ends) if grant_id else None

    def _overage(self) -> Command:
        limit = self._random.choice((None, Credits(0), Credits(200)))
        periods: tuple[OveragePeriod, ...] = ("month", "month", "day")
        period = self._random.choice(periods)
        return c.SetOverageLimit(**self._whose(), limit=limit, period=period)

    def _transfer(self) -> Command:
        sender, receiver = self._random.sample(self.customers, 2)
        return c.TransferCredits(
            from_customer_id=sender, to_customer_id=receiver, amount=self._amount(60)
        )

    def _purchase(self) -> Command:
        self._count += 1
        payment = f"pi_{self._count}"
        self._ids["payment"].append(payment)
        return RecordPurchase(
            provider="stripe",
            provider_id=payment,
            provider_customer_id=f"cus_{self._random.choice(self.customers)}",
            customer_id=None,
            lines=(PurchaseLine(price_id=PACK, quantity=self._random.randint(1, 2)),),
            paid=Money(1800, "USD"),
            paid_at=self.now,
        )

    def _refund_purchase(self) -> Command | None:
        payment = self._one("payment")
        if payment is None:
            return None
        return ReportRefundTotal(
            provider="stripe",
            provider_id=payment,
            currency="USD",
            total=RefundTotal(amount=self._random.choice((300, 600, 1800)), as_of=self.now),
        )


_COMMANDS: dict[str, Callable[[LongStory], Command | None]] = {
    "grant": LongStory._grant,
    "deduct": LongStory._deduct,
    "hold": LongStory._hold,
    "capture": LongStory._capture,
    "release": LongStory._release,
    "refund": LongStory._refund,
    "revoke": LongStory._revoke,
    "reinstate": LongStory._reinstate,
    "change_expiry": LongStory._change_expiry,
    "overage": LongStory._overage,
    "transfer": LongStory._transfer,
    "purchase": LongStory._purchase,
    "refund_purchase": LongStory._refund_purchase,
}
