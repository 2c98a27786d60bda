"""What both are told, the real ledger and the reference model, and what each makes of it.

A move is drawn without knowing the accounts; bound to them, it is a command and a play of the
model. Things that already exist are picked by their place, counted from the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from creditledger.domain import commands as c
from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.provider_commands import PurchaseLine, RecordPurchase, SetPrice
from memory_store import MemoryStore
from reference_model import LARGEST, PRIORITIES, Account, Legs, Lot, No, transfer

START = datetime.fromisoformat("2026-01-20T12:00:00+00:00")
CUSTOMERS = ("ada", "bob")
ASSETS = ("credits", "tokens")
T = TypeVar("T")


class Who(NamedTuple):
    """One account."""

    customer: str
    asset: str


WHO = [Who(customer, asset) for customer in CUSTOMERS for asset in ASSETS]


@dataclass
class Bought:
    """A payment that was granted: when it was paid, as far as is known, and its lots.

    Each lot stands with its account and with how long it lives.
    """

    paid_at: datetime
    lots: list[tuple[Account, Lot, timedelta]] = field(default_factory=list)

    def redate(self, paid_at: datetime, now: datetime) -> None:
        """Of several times of payment the first stands: what lives on ends that much earlier."""
        before, self.paid_at = self.paid_at, min(self.paid_at, paid_at)
        for account, lot, lifetime in self.lots:
            ends = self.paid_at + lifetime
            if lot.ends == before + lifetime and ends > max(now, lot.starts):
                account.change_expiry(lot, ends, now)


@dataclass
class World:
    """All accounts of the model, and the payments that were granted."""

    scale: int = 1
    accounts: dict[Who, Account] = field(default_factory=lambda: {who: Account() for who in WHO})
    payments: dict[str, Bought] = field(default_factory=dict)

    def pass_time(self, now: datetime) -> None:
        for account in self.accounts.values():
            account.pass_time(now)

    def credits(self, amount: int) -> Credits:
        """An amount of a move, as large as this world's amounts are."""
        return Credits(min(LARGEST, amount * self.scale))

    def some(self, amount: int | None) -> Credits | None:
        """The same, where a command may leave the amount to the ledger."""
        return None if amount is None else self.credits(amount)


class At(NamedTuple):
    """Amounts of lots of one account, as an answer tells them."""

    who: Who
    legs: Legs


Expected = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A move bound to what there is."""

    command: c.Command
    play: Callable[[World, datetime], Expected]
    who: Who | None


def ids_of(store: MemoryStore, who: Who, kind: type[e.AccountEvent], prefix: str) -> list[str]:
    """The ids of an account's grants, holds or deductions, in their order."""
    stream = ids.account_id(*who)
    key = ids.stream_key(stream)
    return [
        ids.event_id(prefix, key, event.originator_version)
        for event in store.streams.get(stream, ())
        if type(event) is kind
    ]


#: A pick past the latest few is of a thing that never was.
UNKNOWN = 8


def _pick(
    store: MemoryStore, who: Who, kind: type[e.AccountEvent], prefix: str, at: int
) -> tuple[str, int | None]:
    """An id and its place among its kind, counted from the latest one."""
    known = ids_of(store, who, kind, prefix)
    if at == UNKNOWN or not known:
        return f"{prefix}_unknown", None
    place = len(known) - 1 - at % len(known)
    return known[place], place


def _at(things: Sequence[T], place: int | None, code: str) -> T:
    if place is None:
        raise No(code)
    return things[place]


@dataclass(frozen=True)
class Grant:
    who: Who
    amount: int
    source: str
    priority: int | None
    starts_in: timedelta | None
    ends_in: timedelta | None

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        amount = world.credits(self.amount)
        starts = None if self.starts_in is None else now + self.starts_in
        ends = None if self.ends_in is None else now + self.ends_in
        command = c.GrantCredits(
            customer_id=self.who.customer,
            asset=self.who.asset,
            amount=amount,
            source=self.source,
            priority=self.priority,
            effective_at=starts,
            expires_at=ends,
        )

        def play(world: World, now: datetime) -> Expected:
            start = starts or now
            if ends is not None and (ends <= now or ends <= start):
                raise No("invalid_request", field="expires_at")
            priority = PRIORITIES[self.source] if self.priority is None else self.priority
            lot = Lot(self.source, priority, start, ends, amount, None, left=amount)
            _, repaid = world.accounts[self.who].grant_lot(lot, now)
            return {"debt_repaid": repaid}

        return Step(command, play, self.who)


PRICES = {
    f"{asset}-{credits_}-{days}": (asset, credits_, days)
    for asset in ASSETS
    for credits_, days in ((3, 1), (8, 30))
}


def prices(world: World) -> list[SetPrice]:
    """What the provider's prices are worth."""
    return [
        SetPrice(
            provider="stripe",
            price_id=name,
            credits=world.credits(credits_),
            asset=asset,
            expires_after_days=days,
        )
        for name, (asset, credits_, days) in PRICES.items()
    ]


@dataclass(frozen=True)
class Purchase:
    """Several lines under one payment, so that lots of it stand on one account and on two."""

    customer: str
    payment: int
    lines: tuple[str, ...]
    paid_ago: timedelta

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        provider_id = f"pi_{self.payment}"
        paid_at = now - self.paid_ago
        command = RecordPurchase(
            provider="stripe",
            provider_id=provider_id,
            provider_customer_id=None,
            customer_id=self.customer,
            lines=tuple(PurchaseLine(price_id=line) for line in self.lines),
            paid=Money(900, "USD"),
            paid_at=paid_at,
        )
        payment = ids.stream_id(ids.PAYMENT, ids.payment_stream("stripe", provider_id))

        def play(world: World, now: datetime) -> Expected:
            if payment in world.payments:
                world.payments[payment].redate(paid_at, now)
                return {}
            amounts: dict[Who, int] = {}
            for line in self.lines:
                asset, credits_, _ = PRICES[line]
                who = Who(self.customer, asset)
                amounts[who] = amounts.get(who, 0) + world.credits(credits_)
            for who, amount in amounts.items():
                account = world.accounts[who]
                account.needs_room(amount - min(amount, account.debt()), now)
            bought = world.payments[payment] = Bought(paid_at)
            for line in self.lines:
                asset, credits_, days = PRICES[line]
                amount, lifetime = world.credits(credits_), timedelta(days=days)
                lot = Lot("top_up", 30, paid_at, paid_at + lifetime, amount, payment, left=amount)
                account = world.accounts[Who(self.customer, asset)]
                account.grant_lot(lot, now)
                bought.lots.append((account, lot, lifetime))
            return {"payment_id": payment}

        return Step(command, play, None)


@dataclass(frozen=True)
class Deduct:
    who: Who
    amount: int

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        amount = world.credits(self.amount)
        command = c.DeductCredits(
            customer_id=self.who.customer, asset=self.who.asset, amount=amount
        )

        def play(world: World, now: datetime) -> Expected:
            spent = world.accounts[self.who].deduct(amount, now)
            return {"from": At(self.who, list(spent.legs)), "overage": spent.overage}

        return Step(command, play, self.who)


@dataclass(frozen=True)
class PlaceHold:
    who: Who
    amount: int
    seconds: int | None

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        amount = world.credits(self.amount)
        command = c.HoldCredits(
            customer_id=self.who.customer,
            asset=self.who.asset,
            amount=amount,
            expires_in=self.seconds,
        )

        def play(world: World, now: datetime) -> Expected:
            hold = world.accounts[self.who].hold(amount, now, self.seconds)
            return {"from": At(self.who, list(hold.pins)), "expires_at": hold.ends}

        return Step(command, play, self.who)


@dataclass(frozen=True)
class Capture:
    who: Who
    at: int
    amount: int | None
    final: bool

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        hold_id, place = _pick(store, self.who, e.Held, ids.HOLD, self.at)
        amount = world.some(self.amount)
        command = c.CaptureHold(hold_id=hold_id, amount=amount, final=self.final)

        def play(world: World, now: datetime) -> Expected:
            account = world.accounts[self.who]
            hold = _at(account.holds, place, "hold_not_found")
            spent, released = account.capture(hold, amount, now, final=self.final)
            legs = At(self.who, list(spent.legs))
            return {"from": legs, "overage": spent.overage, "released": released}

        return Step(command, play, self.who)


@dataclass(frozen=True)
class Release:
    who: Who
    at: int

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        hold_id, place = _pick(store, self.who, e.Held, ids.HOLD, self.at)

        def play(world: World, now: datetime) -> Expected:
            account = world.accounts[self.who]
            hold = _at(account.holds, place, "hold_not_found")
            return {"released": account.release(hold, now)}

        return Step(c.ReleaseHold(hold_id=hold_id), play, self.who)


@dataclass(frozen=True)
class Refund:
    who: Who
    at: int
    amount: int | None
    policy: e.ExpiredLotsPolicy

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        deduction_id, place = _pick(store, self.who, e.Deducted, ids.DEDUCTION, self.at)
        amount = world.some(self.amount)
        command = c.RefundDeduction(
            deduction_id=deduction_id, amount=amount, expired_lots=self.policy
        )

        def play(world: World, now: datetime) -> Expected:
            account = world.accounts[self.who]
            deduction = _at(account.deductions, place, "deduction_not_found")
            overage, to, lost, taken = account.refund(
                deduction, amount, now, grace=self.policy == "grace"
            )
            legs = At(self.who, to)
            return {"overage": overage, "to": legs, "lost": lost, "recovered": taken}

        return Step(command, play, self.who)


@dataclass(frozen=True)
class Revoke:
    who: Who
    at: int
    amount: int | None
    policy: e.RevocationPolicy | None

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        grant_id, place = _pick(store, self.who, e.Granted, ids.GRANT, self.at)
        amount = world.some(self.amount)
        command = c.RevokeGrant(grant_id=grant_id, amount=amount, policy=self.policy)

        def play(world: World, now: datetime) -> Expected:
            account = world.accounts[self.who]
            lot = _at(account.lots, place, "grant_not_found")
            legs, debt, loss = account.revoke(lot, amount, write_off=self.policy == "write_off")
            return {"from": At(self.who, legs), "debt": debt, "written_off": loss}

        return Step(command, play, self.who)


@dataclass(frozen=True)
class Reinstate:
    who: Who
    at: int
    amount: int | None

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        grant_id, place = _pick(store, self.who, e.Granted, ids.GRANT, self.at)
        amount = world.some(self.amount)

        def play(world: World, now: datetime) -> Expected:
            account = world.accounts[self.who]
            lot = _at(account.lots, place, "grant_not_found")
            cancelled, to, lost, loss = account.reinstate(lot, amount, now)
            return {
                "debt_cancelled": cancelled,
                "to": At(self.who, to),
                "lost": lost,
                "write_off_cancelled": loss,
            }

        return Step(c.ReinstateGrant(grant_id=grant_id, amount=amount), play, self.who)


@dataclass(frozen=True)
class MoveExpiry:
    who: Who
    at: int
    ends_in: timedelta | None

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        grant_id, place = _pick(store, self.who, e.Granted, ids.GRANT, self.at)
        ends = None if self.ends_in is None else now + self.ends_in

        def play(world: World, now: datetime) -> Expected:
            account = world.accounts[self.who]
            lot = _at(account.lots, place, "grant_not_found")
            account.change_expiry(lot, ends, now)
            return {"expires_at": ends}

        return Step(c.ChangeExpiry(grant_id=grant_id, expires_at=ends), play, self.who)


@dataclass(frozen=True)
class SetLimit:
    who: Who
    limit: int | None

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        limit = world.some(self.limit)
        command = c.SetOverageLimit(
            customer_id=self.who.customer, asset=self.who.asset, limit=limit
        )

        def play(world: World, now: datetime) -> Expected:
            world.accounts[self.who].limit = limit
            return {"limit": limit}

        return Step(command, play, self.who)


@dataclass(frozen=True)
class Transfer:
    who: Who
    to: str
    amount: int

    def bind(self, store: MemoryStore, world: World, now: datetime) -> Step:
        amount = world.credits(self.amount)
        receiver = Who(self.to, self.who.asset)
        command = c.TransferCredits(
            from_customer_id=self.who.customer,
            to_customer_id=self.to,
            asset=self.who.asset,
            amount=amount,
        )

        def play(world: World, now: datetime) -> Expected:
            taken, given = transfer(world.accounts[self.who], world.accounts[receiver], amount, now)
            return {"from": At(self.who, taken), "grants": At(receiver, given)}

        return Step(command, play, self.who)


Move = (
    Grant
    | Purchase
    | Deduct
    | PlaceHold
    | Capture
    | Release
    | Refund
    | Revoke
    | Reinstate
    | MoveExpiry
    | SetLimit
    | Transfer
)
