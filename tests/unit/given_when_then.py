"""Rules in one sentence: given these events, when this is wished, then these events follow.

    given(granted(10)).when(deduct(11)).then_refused(InsufficientCredits, available=10, required=11)

Whatever a sentence says, three things are looked at each time: a second delivery with the same key
is told the same and writes nothing, on this ledger and on a new one; every event says the balance
that follows; and a refusal changes no account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self

from creditledger.domain import commands as c
from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import Credits
from creditledger.domain.due import evaluate
from creditledger.domain.errors import Invalid, Refused
from creditledger.domain.events import AccountEvent, Balance, Context, LotAmount
from creditledger.domain.ledger import Ledger
from creditledger.domain.policies import DEFAULT_PRIORITIES, Policies
from creditledger.domain.receipt import Outcome, Receipt, Wish
from memory_store import MemoryStore
from proofs import prove_identities, replayed, state_of

# Named examples.

ADA, BOB = "ada", "bob"
#: When given events were recorded, and when commands come unless a sentence says `at`.
START = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
NOW = datetime.fromisoformat("2026-03-10T12:00:00+00:00")
TICK = timedelta(microseconds=1)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PAYMENT = "pay_example"
Legs = Mapping[str, int]


def _nth(prefix: str, version: int, customer: str, asset: str) -> str:
    return ids.event_id(prefix, ids.stream_key(ids.account_id(customer, asset)), version)


def grt(version: int, of: str = ADA, asset: str = "credits") -> str:
    """The grant that the account's event of this number brought about; so for the others."""
    return _nth(ids.GRANT, version, of, asset)


def hld(version: int, of: str = ADA, asset: str = "credits") -> str:
    return _nth(ids.HOLD, version, of, asset)


def ded(version: int, of: str = ADA, asset: str = "credits") -> str:
    return _nth(ids.DEDUCTION, version, of, asset)


# What is wished, of Ada's credits unless it says otherwise.


def wish(command: c.Command, key: str | None = None, client: str = "shop", **more: Any) -> Wish:
    """A client's wish for this command, by a key where there is one."""
    return Wish(
        command=command,
        actor=f"client:{client}",
        client_id=client,
        key=key,
        fingerprint=repr(command).encode(),
        **more,
    )


def grant(amount: int, **more: Any) -> c.GrantCredits:
    return c.GrantCredits(**{"customer_id": ADA, "amount": Credits(amount), **more})


def deduct(amount: int, **more: Any) -> c.DeductCredits:
    return c.DeductCredits(**{"customer_id": ADA, "amount": Credits(amount), **more})


def hold(amount: int, **more: Any) -> c.HoldCredits:
    return c.HoldCredits(**{"customer_id": ADA, "amount": Credits(amount), **more})


def capture(hold_id: str, amount: int | None = None, *, final: bool = True) -> c.CaptureHold:
    return c.CaptureHold(hold_id=hold_id, amount=_some(amount), final=final)


def release(hold_id: str) -> c.ReleaseHold:
    return c.ReleaseHold(hold_id=hold_id)


def refund(deduction_id: str, amount: int | None = None, **more: Any) -> c.RefundDeduction:
    return c.RefundDeduction(deduction_id=deduction_id, amount=_some(amount), **more)


def revoke(grant_id: str, amount: int | None = None, **more: Any) -> c.RevokeGrant:
    return c.RevokeGrant(grant_id=grant_id, amount=_some(amount), **more)


def reinstate(grant_id: str, amount: int | None = None) -> c.ReinstateGrant:
    return c.ReinstateGrant(grant_id=grant_id, amount=_some(amount))


def let_expire(grant_id: str, expires_at: datetime | None) -> c.ChangeExpiry:
    return c.ChangeExpiry(grant_id=grant_id, expires_at=expires_at)


def allow_overage(limit: int | None, **more: Any) -> c.SetOverageLimit:
    return c.SetOverageLimit(**{"customer_id": ADA, "limit": _some(limit), **more})


def transfer(amount: int, *, to: str = BOB, of: str = ADA) -> c.TransferCredits:
    return c.TransferCredits(from_customer_id=of, to_customer_id=to, amount=Credits(amount))


def sweep(of: str = ADA) -> c.ExpireDue:
    return c.ExpireDue(account_id=ids.account_id(of, "credits"))


# What happened, without what every event has: its stream, its version, who and when.


@dataclass(frozen=True)
class Sketch:
    """An event of an account, as far as a rule says what it is."""

    kind: type[AccountEvent]
    facts: Mapping[str, Any]
    of: str = ADA
    asset: str = "credits"
    at: datetime = START

    def by(self, customer: str, asset: str = "credits") -> Sketch:
        """The same on another account."""
        return replace(self, of=customer, asset=asset)

    def recorded(self, at: datetime) -> Sketch:
        """The same at another moment."""
        return replace(self, at=at)


def granted(amount: int, *, source: str = "top_up", **more: Any) -> Sketch:
    facts = {"priority": DEFAULT_PRIORITIES.get(source), "effective_at": START, "expires_at": None}
    renamed = {_NAMES.get(name, name): value for name, value in more.items()}
    return Sketch(e.Granted, _plain({"amount": amount, "source": source, **facts, **renamed}))


_NAMES = {"starts": "effective_at", "ends": "expires_at", "payment": "payment_id"}


def terms(grant_id: str, amount: int, ends: datetime | None = None, **more: Any) -> e.LotTerms:
    """The lot of a grant of the examples, as an event says it that opens it again."""
    facts: dict[str, Any] = {"source": "top_up", "priority": 30, "effective_at": START}
    facts |= {"expires_at": ends, "cost_basis": None, "payment_id": None, "written_off": 0, **more}
    return e.LotTerms(grant_id=grant_id, granted=Credits(amount), **facts)


def held(amount: int, lots: Legs, *, ends: datetime) -> Sketch:
    return Sketch(e.Held, _plain({"amount": amount, "expires_at": ends, "lots": lots}))


def deducted(amount: int, lots: Legs, *, overage: int = 0, **more: Any) -> Sketch:
    return Sketch(e.Deducted, _plain({"amount": amount, "lots": lots, "overage": overage, **more}))


def released(hold_id: str, amount: int, lots: Legs, reason: str, **more: Any) -> Sketch:
    facts = {"hold_id": hold_id, "amount": amount, "lots": lots, "reason": reason}
    return Sketch(e.Released, _plain({**facts, **more}))


def refunded(deduction_id: str, amount: int, lots: Legs, **more: Any) -> Sketch:
    facts = {"deduction_id": deduction_id, "amount": amount, "lots": lots}
    return Sketch(e.Refunded, _plain({"overage": 0, "overage_this_period": 0, **facts, **more}))


def expired(lots: Legs, at: datetime) -> Sketch:
    return Sketch(e.Expired, _plain({"lots": lots, "expired_at": at}))


def revoked(grant_id: str, amount: int, lots: Legs, **more: Any) -> Sketch:
    facts = {"grant_id": grant_id, "amount": amount, "lots": lots}
    none = {"debt": 0, "written_off": 0, "payment_id": None}
    return Sketch(e.Revoked, _plain({**none, **facts, **more}))


def recovered(grant_id: str, amount: int, *, debt: int = 0, written_off: int = 0) -> Sketch:
    return Sketch(
        e.Recovered,
        {"grant_id": grant_id, "amount": amount, "debt": debt, "written_off": written_off},
    )


def reinstated(grant_id: str, amount: int, lots: Legs, **more: Any) -> Sketch:
    facts = {"grant_id": grant_id, "amount": amount, "lots": lots}
    return Sketch(e.Reinstated, _plain({"debt_cancelled": {}, "written_off": 0, **facts, **more}))


def expiry_changed(grant_id: str, *, to: datetime | None, previous: datetime | None) -> Sketch:
    facts = {"grant_id": grant_id, "expires_at": to, "previous": previous}
    return Sketch(e.ExpiryChanged, facts)


def overage_limit_set(limit: int | None, period: str = "month") -> Sketch:
    return Sketch(e.OverageLimitSet, {"limit": limit, "period": period})


# The sentence.


def given(*sketches: Sketch, policies: Policies | None = None) -> Story:
    """Begin with what has happened."""
    return Story(sketches, policies)


class Story:
    """A ledger, what it was told last, and what came of it."""

    def __init__(self, sketches: tuple[Sketch, ...], policies: Policies | None) -> None:
        self.now = NOW
        self.policies = policies
        self.store = MemoryStore()
        for sketch in sketches:
            self._happen(sketch)
        self.ledger = self.new_ledger()
        self._keys = 0
        self._answers: dict[str, Mapping[str, Any]] = {}

    def new_ledger(self) -> Ledger:
        """Another ledger on the same store, as after a restart."""
        return Ledger(self.store, now=lambda: self.now, policies=self.policies)

    def at(self, moment: datetime) -> Self:
        """Let it be that time."""
        self.now = moment
        return self

    def after(self, *commands: c.Command) -> Self:
        """Go on with what was wished and done."""
        for command in commands:
            outcome = self._send(self._wish(command))
            assert isinstance(outcome, Receipt), outcome
            assert outcome.outcome == "accepted", outcome.answer
            self._answers[command.NAME] = outcome.answer
        return self

    def answer_of(self, name: str) -> Mapping[str, Any]:
        """What the latest of these commands was told in `after`."""
        return self._answers[name]

    def when(self, command: c.Command) -> Self:
        """Wish something."""
        self.wish = self._wish(command)
        self.before = self._states()
        self.seen = len(self.store.log)
        self.outcome = self._send(self.wish)
        return self

    def then(self, *sketches: Sketch) -> Self:
        """These events of accounts followed, and no others."""
        assert self.receipt.outcome == "accepted", self.receipt.answer
        new = [event for event in self.store.log[self.seen :] if isinstance(event, AccountEvent)]
        assert [_facts_of(event) for event in new] == [_facts_in(sketch) for sketch in sketches]
        assert all(event.recorded_at == self.now for event in new)
        self._look_around()
        return self

    def then_refused(self, error: type[Refused], **values: Any) -> Self:
        """It was refused with these values, and no account is any different."""
        receipt = self.receipt
        assert receipt.outcome == error.code, receipt.answer
        assert {name: receipt.answer[name] for name in values} == values
        assert self._states() == self.before
        self._look_around()
        return self

    def then_invalid(self, field: str) -> Self:
        """It does not fit: nothing is kept of it, not even a receipt."""
        assert isinstance(self.outcome, Invalid), self.outcome
        assert self.outcome.values["field"] == field
        assert self._states() == self.before
        assert self.wish.receipt_id not in self.store.kept_receipts
        return self

    def then_balance(self, of: str = ADA, asset: str = "credits", **figures: int) -> Self:
        """An account stands at these figures now, those not named at none."""
        zeros = {"available": 0, "held": 0, "scheduled": 0, "debt": 0, "overage": 0}
        assert self.account(of, asset).balance() == Balance(**{**zeros, **figures})
        return self

    def then_answer(self, **parts: Any) -> Self:
        """The answer says so."""
        answer = self.receipt.answer
        assert {name: answer[name] for name in parts} == parts
        return self

    @property
    def receipt(self) -> Receipt:
        """The receipt of the last wish."""
        assert isinstance(self.outcome, Receipt), self.outcome
        return self.outcome

    @property
    def answer(self) -> Mapping[str, Any]:
        """All that the last wish was told."""
        return self.receipt.answer

    def account(self, of: str = ADA, asset: str = "credits") -> CreditAccount:
        """An account as it stands now, from its events."""
        stream = ids.account_id(of, asset)
        return evaluate(replayed(self.store.streams.get(stream, ()), stream), self.now)

    def _happen(self, sketch: Sketch) -> None:
        stream = ids.account_id(sketch.of, sketch.asset)
        account = replayed(self.store.streams.get(stream, ()), stream)
        event = sketch.kind(
            originator_id=stream,
            originator_version=account.version + 1,
            recorded_at=sketch.at,
            context=Context("client:given", "given", "given"),
            customer_id=sketch.of,
            asset=sketch.asset,
            **sketch.facts,
        )
        account.apply(event)
        account.seal(event)
        self.store.append([event], [], [])

    def _wish(self, command: c.Command) -> Wish:
        self._keys += 1
        return wish(command, f"key-{self._keys}", "tests")

    def _send(self, wish: Wish) -> Outcome:
        [outcome] = self.ledger.handle([wish])
        return outcome

    def _states(self) -> dict[str, Any]:
        streams = {(o.customer_id, o.asset) for o in self.store.log if isinstance(o, AccountEvent)}
        return {f"{who}": _lasting(self.account(*who)) for who in sorted(streams)}

    def _look_around(self) -> None:
        first, log = self.receipt, list(self.store.log)
        for ledger in (self.ledger, self.new_ledger()):
            [again] = ledger.handle([self.wish])
            assert isinstance(again, Receipt)
            assert again.replayed
            assert (again.outcome, again.answer) == (first.outcome, first.answer)
            assert self.store.log == log
        for stream, events in self.store.streams.items():
            account = CreditAccount(stream)
            for event in events:
                if isinstance(event, AccountEvent):
                    account.apply(event)
                    assert event.after == account.balance(), event
        prove_identities(log)


def _lasting(account: CreditAccount) -> dict[str, Any]:
    """An account's state without the count of its events: what time does may be written or not."""
    state = state_of(account)
    return {name: value for name, value in state.items() if name != "version"}


_OF_EVERY_EVENT = {field.name for field in fields(AccountEvent)} - {"customer_id", "asset"}


def _facts_of(event: AccountEvent) -> dict[str, Any]:
    names = [field.name for field in fields(event) if field.name not in _OF_EVERY_EVENT]
    return {"kind": type(event), **{name: getattr(event, name) for name in names}}


def _facts_in(sketch: Sketch) -> dict[str, Any]:
    facts = {"kind": sketch.kind, "customer_id": sketch.of, "asset": sketch.asset, **sketch.facts}
    for field in fields(sketch.kind):
        if field.name not in _OF_EVERY_EVENT and field.default is not MISSING:
            facts.setdefault(field.name, field.default)
    return facts


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Lots in the form of events."""
    return {
        name: tuple(LotAmount(grant_id, Credits(amount)) for grant_id, amount in value.items())
        if isinstance(value, Mapping)
        else value
        for name, value in facts.items()
    }


def _some(amount: int | None) -> Credits | None:
    return None if amount is None else Credits(amount)
