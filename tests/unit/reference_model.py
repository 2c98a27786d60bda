"""Credit accounts as slowly and plainly as the rules allow: what the real ones are held against.

Written from the rules of the ledger, not from its code. Nothing is kept that can be worked out:
what is held is counted from the holds, what is available from the lots, overage from deductions,
and everything stays in its list for ever. Things are known by their place in these lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

LARGEST = 2**53 - 1
HOLD_SECONDS = 15 * 60
HOLD_SECONDS_MAX = 30 * 24 * 60 * 60
GRACE = timedelta(days=7)
PRIORITIES = {
    "subscription": 10,
    "rollover": 15,
    **dict.fromkeys(("trial", "lead", "promotion", "referral", "gift"), 20),
    "bundle": 25,
    "top_up": 30,
    **dict.fromkeys(("adjustment", "migration"), 40),
}


class No(Exception):
    """A command is refused, with a code and the values that matter."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code, values)
        self.code = code
        self.values = values


@dataclass(eq=False)
class Lot:
    """A grant and what is left of it, pinned credits included; `revoked` is net."""

    source: str
    priority: int
    starts: datetime
    ends: datetime | None
    granted: int
    payment: str | None
    left: int
    revoked: int = 0
    written_off: int = 0

    def over(self, now: datetime) -> bool:
        return self.ends is not None and self.ends <= now

    def usable(self, now: datetime) -> bool:
        return self.starts <= now and not self.over(now)


Legs = list[tuple[Lot, int]]


@dataclass(eq=False)
class Hold:
    """What it still pins, in the order in which it was pinned; `how` tells how it ended."""

    ends: datetime
    pins: Legs
    how: str | None = None

    @property
    def amount(self) -> int:
        return sum(amount for _, amount in self.pins)


@dataclass(eq=False)
class Deduction:
    """What can still be refunded of it, in the order in which it was spent: overage last."""

    month: tuple[int, int]
    legs: Legs
    overage: int
    transfer: bool = False

    @property
    def refundable(self) -> int:
        return self.overage + sum(amount for _, amount in self.legs)


@dataclass(eq=False)
class Account:
    """One customer's holding of one asset. Commands are told their moment, after `pass_time`."""

    lots: list[Lot] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    deductions: list[Deduction] = field(default_factory=list)
    #: Open debts, oldest first: whose revocation made them, and how much is open.
    debts: Legs = field(default_factory=list)
    limit: int | None = 0

    # What there is.

    def free(self, lot: Lot) -> int:
        pinned = [n for hold in self.holds if not hold.how for pin, n in hold.pins if pin is lot]
        return lot.left - sum(pinned)

    def in_burn_order(self) -> list[Lot]:
        def place(lot: Lot) -> tuple[int, bool, datetime, datetime, int]:
            never = lot.ends is None
            ends = lot.starts if lot.ends is None else lot.ends
            return (lot.priority, never, ends, lot.starts, self.lots.index(lot))

        return sorted(self.lots, key=place)

    def usable(self, now: datetime) -> list[Lot]:
        return [lot for lot in self.in_burn_order() if lot.usable(now)]

    def available(self, now: datetime) -> int:
        return sum(self.free(lot) for lot in self.usable(now))

    def held(self) -> int:
        return sum(hold.amount for hold in self.holds if not hold.how)

    def scheduled(self, now: datetime) -> int:
        return sum(lot.left for lot in self.lots if lot.starts > now)

    def debt(self) -> int:
        return sum(amount for _, amount in self.debts)

    def overage(self, now: datetime) -> int:
        return sum(d.overage for d in self.deductions if d.month == (now.year, now.month))

    def balance(self, now: datetime) -> dict[str, int]:
        return {
            "available": self.available(now),
            "held": self.held(),
            "scheduled": self.scheduled(now),
            "debt": self.debt(),
            "overage": self.overage(now),
        }

    def needs_room(self, more: int, now: datetime) -> None:
        total = self.available(now) + self.held() + self.scheduled(now)
        if total + more > LARGEST:
            raise No("balance_limit_exceeded", would_be=total + more)

    # Time.

    def pass_time(self, now: datetime) -> None:
        """Let what is due happen, one thing after another, the earliest first."""
        while True:
            due: list[tuple[datetime, Hold | Lot]] = []
            due += [(lot.ends, lot) for lot in self.lots if lot.ends and self.free(lot)]
            due += [(hold.ends, hold) for hold in self.holds if not hold.how]
            due = [(at, thing) for at, thing in due if at <= now]
            if not due:
                return
            _, thing = min(due, key=lambda one: one[0])
            if isinstance(thing, Lot):
                thing.left -= self.free(thing)
            else:
                self.close(thing, "lapsed")

    # Commands.

    def grant_lot(self, lot: Lot, now: datetime) -> tuple[Lot, int]:
        """Give a full lot, let it repay the oldest debts, and tell how much that was."""
        repaid = unpaid = min(lot.granted, self.debt())
        self.needs_room(lot.granted - repaid, now)
        for debtor, open_ in self.debts.copy():
            part = min(unpaid, open_)
            self.reduce_debt(debtor, part)
            unpaid -= part
        lot.left -= repaid
        self.lots.append(lot)
        self.pass_time(now)
        return lot, repaid

    def change_expiry(self, lot: Lot, ends: datetime | None, now: datetime) -> None:
        if ends is not None and (ends <= now or ends <= lot.starts):
            raise No("invalid_request", field="expires_at")
        lot.ends = ends

    def draw(self, amount: int, now: datetime) -> tuple[Legs, int]:
        """Take from free lots in the burn order, then as overage."""
        available, overage = self.available(now), self.overage(now)
        more = max(0, amount - available)
        left = None if self.limit is None else max(0, self.limit - overage)
        if left is not None and more > left:
            raise No("insufficient_credits", required=amount, available=available)
        if more and overage + more > LARGEST:
            raise No("balance_limit_exceeded", would_be=overage + more)
        return self.take(self.usable(now), amount - more), more

    def take(self, lots: list[Lot], amount: int) -> Legs:
        """As much of the amount as these lots have free, one after another."""
        legs: Legs = []
        for lot in lots:
            part = min(amount, self.free(lot))
            if part:
                lot.left -= part
                amount -= part
                legs.append((lot, part))
        return legs

    def deduct(self, amount: int, now: datetime) -> Deduction:
        legs, overage = self.draw(amount, now)
        return self.deducted(legs, overage, now)

    def deducted(
        self, legs: Legs, overage: int, now: datetime, *, transfer: bool = False
    ) -> Deduction:
        deduction = Deduction((now.year, now.month), list(legs), overage, transfer)
        self.deductions.append(deduction)
        return deduction

    def hold(self, amount: int, now: datetime, seconds: int | None) -> Hold:
        seconds = HOLD_SECONDS if seconds is None else seconds
        if not 1 <= seconds <= HOLD_SECONDS_MAX:
            raise No("invalid_request", field="expires_in")
        available = self.available(now)
        if amount > available:
            raise No("insufficient_credits", required=amount, available=available)
        pins = self.take(self.usable(now), amount)
        for lot, part in pins:
            lot.left += part  # it is pinned, not gone
        self.holds.append(Hold(now + timedelta(seconds=seconds), pins))
        return self.holds[-1]

    def capture(
        self, hold: Hold, amount: int | None, now: datetime, *, final: bool
    ) -> tuple[Deduction, int]:
        """Spend what a hold pins, and more where that is asked; tell what was released."""
        if hold.how:
            raise No("hold_closed", how=hold.how)
        amount = hold.amount if amount is None else amount
        more, overage = self.draw(max(0, amount - hold.amount), now)
        legs: Legs = []
        pins: Legs = []
        for lot, pin in hold.pins:
            part = min(amount, pin)
            amount -= part
            lot.left -= part
            legs += [(lot, part)] if part else []
            pins += [(lot, pin - part)] if pin > part else []
        hold.pins = pins
        deduction = self.deducted(legs + more, overage, now)
        released = hold.amount if final else 0
        if final or not pins:
            self.close(hold, "captured")
            self.pass_time(now)
        return deduction, released

    def release(self, hold: Hold, now: datetime) -> int:
        if hold.how == "captured":
            raise No("hold_closed", how=hold.how)
        released = 0 if hold.how else hold.amount
        if not hold.how:
            self.close(hold, "released")
            self.pass_time(now)
        return released

    def close(self, hold: Hold, how: str) -> None:
        hold.how = how
        for lot, amount in hold.pins:
            lot.left -= self.recover(lot, amount)

    def recover(self, lot: Lot, amount: int) -> int:
        """What came back to a lot is taken for its own shortfall: its debt, then its loss."""
        debt = min(amount, self.debt_of(lot))
        self.reduce_debt(lot, debt)
        loss = min(amount - debt, lot.written_off)
        lot.written_off -= loss
        return debt + loss

    def refund(
        self, deduction: Deduction, amount: int | None, now: datetime, *, grace: bool
    ) -> tuple[int, Legs, int, int]:
        """Undo a deduction from its end: overage refunded, then where credits went, lost, taken."""
        if deduction.transfer:
            raise No("transfer_not_refundable")
        amount = deduction.refundable if amount is None else amount
        if not 0 < amount <= deduction.refundable:
            raise No("refund_exceeds_deduction", refundable=deduction.refundable)
        overage = min(amount, deduction.overage)
        self.needs_room(amount - overage, now)
        deduction.overage -= overage
        amount -= overage
        back: dict[Lot, int] = {}
        while amount:
            lot, spent = deduction.legs.pop()
            part = min(amount, spent)
            deduction.legs += [(lot, spent - part)] if spent > part else []
            back[lot] = back.get(lot, 0) + part
            amount -= part
        taken = {lot: self.recover(lot, part) for lot, part in back.items()}
        rest = [(lot, part - taken[lot]) for lot, part in back.items()]
        to, lost = self.give_back(rest, now, grace=grace)
        return overage, to, lost, sum(taken.values())

    def give_back(self, legs: Legs, now: datetime, *, grace: bool) -> tuple[Legs, int]:
        """Return credits to lots; those that are over lose them again, or there is grace."""
        to: Legs = []
        lost = 0
        for lot, part in legs:
            if part and not lot.over(now):
                lot.left += part
        for lot, part in legs:
            if part and not lot.over(now):
                to.append((lot, part))
            elif part and grace and lot.source != "refund":
                end = now + GRACE
                again = Lot("refund", lot.priority, now, end, part, lot.payment, left=part)
                new, _ = self.grant_lot(again, now)
                to.append((new, part))
            else:
                lost += part
        return to, lost

    def revoke(self, lot: Lot, amount: int | None, *, write_off: bool) -> tuple[Legs, int, int]:
        """Take a grant back: from which lots, and what became debt or was written off."""
        revocable = lot.granted - lot.revoked
        amount = revocable if amount is None else amount
        if not 0 < amount <= revocable:
            raise No("revocation_exceeds_grant", revocable=revocable)
        payments = [one for one in self.in_burn_order() if one is not lot]
        payments = [one for one in payments if lot.payment and one.payment == lot.payment]
        reach = sum(self.free(one) for one in [lot, *payments])
        short = max(0, amount - reach)
        if not write_off and self.debt() + short > LARGEST:
            raise No("balance_limit_exceeded", would_be=self.debt() + short)
        legs = self.take([lot, *payments], amount)
        lot.revoked += amount
        if write_off:
            lot.written_off += short
            return legs, 0, short
        if short and not self.debt_of(lot):
            self.debts.append((lot, 0))
        self.debts = [(one, n + short if one is lot else n) for one, n in self.debts]
        return legs, short, 0

    def reinstate(self, lot: Lot, amount: int | None, now: datetime) -> tuple[int, Legs, int, int]:
        """Undo a revocation: debt cancelled, where credits went, lost, write-off cancelled."""
        amount = lot.revoked if amount is None else amount
        if not 0 < amount <= lot.revoked:
            raise No("reinstatement_exceeds_revocation", reinstatable=lot.revoked)
        # What was written off comes last, so that much of the revocation is not touched before.
        loss = max(0, amount - (lot.revoked - lot.written_off))
        back = amount - loss
        cancels: Legs = []
        for one in [lot, *[one for one, _ in self.debts if one is not lot]]:
            if one is lot or (lot.payment and one.payment == lot.payment):
                part = min(back, self.debt_of(one))
                back -= part
                cancels.append((one, part))
        self.needs_room(back, now)
        for one, part in cancels:
            self.reduce_debt(one, part)
        lot.revoked -= amount
        lot.written_off -= loss
        to, lost = self.give_back([(lot, back)], now, grace=True)
        return sum(part for _, part in cancels), to, lost, loss

    def debt_of(self, lot: Lot) -> int:
        return sum(amount for one, amount in self.debts if one is lot)

    def reduce_debt(self, lot: Lot, amount: int) -> None:
        left = [(one, open_ - amount if one is lot else open_) for one, open_ in self.debts]
        self.debts = [(one, open_) for one, open_ in left if open_]


def transfer(sender: Account, receiver: Account, amount: int, now: datetime) -> tuple[Legs, Legs]:
    """Spend one account's lots and grant them on the other: what was taken, what was given."""
    if sender is receiver:
        raise No("invalid_request", field="to_customer_id")
    available = sender.available(now)
    if amount > available:
        raise No("insufficient_credits", required=amount, available=available)
    receiver.needs_room(amount - min(amount, receiver.debt()), now)
    legs = sender.take(sender.usable(now), amount)
    sender.deducted(legs, 0, now, transfer=True)
    given: Legs = []
    for lot, part in legs:
        same = Lot("transfer", lot.priority, now, lot.ends, part, lot.payment, left=part)
        new, _ = receiver.grant_lot(same, now)
        given.append((new, part))
    return legs, given
