"""The real ledger against the reference model: any commands, any order, any moments.

Two ledgers share one store, as two processes share one database; acknowledgements get lost, and
ledgers start anew from snapshots. After every step all accounts must be what the model says.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import drawn_moves as drawn
from against_model import assert_replay, compare, expect, picture, picture_of_model
from creditledger.domain import events as e
from creditledger.domain import ids, snapshots
from creditledger.domain.account import CreditAccount
from creditledger.domain.commands import Command, ExpireDue
from creditledger.domain.due import evaluate
from creditledger.domain.errors import Failed, KeyReused, LedgerError
from creditledger.domain.events import Balance
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Batch, BatchReceipt, Outcome, Receipt, Wish
from memory_store import FaultyStore
from moves import (
    START,
    WHO,
    Expected,
    Move,
    Step,
    Who,
    World,
    ids_of,
    prices,
)
from proofs import prove_identities, replayed, state_of
from reference_model import LARGEST, No


def _some_were(kind: type[e.Event]) -> Callable[[Any], bool]:
    """Whether there is something of this kind that a command could be about."""
    return lambda machine: any(type(event) is kind for event in machine.store.log)


class LedgerMachine(RuleBasedStateMachine):
    """What may happen to a ledger, and what must hold after each of it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = START
        self.store = FaultyStore()
        self.ledgers = [self._new_ledger(), self._new_ledger()]
        self.world = World()
        self.mirrors = {who: CreditAccount(ids.account_id(*who)) for who in WHO}
        self.wishes = 0
        self.told: list[tuple[Wish | Batch, Outcome]] = []
        #: What all balances were when the clock last stood at a moment.
        self.past: list[tuple[datetime, dict[Who, Balance]]] = []

    def _new_ledger(self) -> Ledger:
        return Ledger(self.store, now=lambda: self.clock)

    @initialize(
        scale=st.sampled_from([1, 1, 1, LARGEST // 10]),
        moves=st.lists(drawn.grants | drawn.purchases | drawn.limits, min_size=1, max_size=4),
    )
    def begin(self, scale: int, moves: list[Move]) -> None:
        self.world.scale = scale
        self.ledgers[0].handle([self._wish(price) for price in prices(self.world)])
        for move in moves:
            self._make(move, 0, dry=False)

    # One command.

    @rule(move=drawn.grants, ledger=drawn.ledger, dry=st.booleans())
    def grant(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @rule(move=drawn.purchases, ledger=drawn.ledger, dry=st.booleans())
    def purchase(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @rule(move=drawn.deductions, ledger=drawn.ledger, dry=st.booleans())
    def deduct(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @rule(move=drawn.holds, ledger=drawn.ledger, dry=st.booleans())
    def hold(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @precondition(_some_were(e.Held))
    @rule(move=drawn.captures, ledger=drawn.ledger, dry=st.booleans())
    def capture(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @precondition(_some_were(e.Held))
    @rule(move=drawn.releases, ledger=drawn.ledger, dry=st.booleans())
    def release(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @precondition(_some_were(e.Deducted))
    @rule(move=drawn.refunds, ledger=drawn.ledger, dry=st.booleans())
    def refund(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @precondition(_some_were(e.Granted))
    @rule(move=drawn.revocations, ledger=drawn.ledger, dry=st.booleans())
    def revoke(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @precondition(_some_were(e.Granted))
    @rule(move=drawn.reinstatements, ledger=drawn.ledger, dry=st.booleans())
    def reinstate(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @precondition(_some_were(e.Granted))
    @rule(move=drawn.expiries, ledger=drawn.ledger, dry=st.booleans())
    def change_expiry(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @rule(move=drawn.limits, ledger=drawn.ledger, dry=st.booleans())
    def set_limit(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @rule(move=drawn.transfers, ledger=drawn.ledger, dry=st.booleans())
    def transfer(self, move: Move, ledger: int, dry: bool) -> None:
        self._make(move, ledger, dry)

    @rule(who=drawn.who, ledger=drawn.ledger)
    def sweep(self, who: Who, ledger: int) -> None:
        """What the sweeper writes down changes nothing that could be seen before."""
        self._tell(self._wish(ExpireDue(account_id=ids.account_id(*who)), keyed=False), ledger)

    def _make(self, move: Move, ledger: int, dry: bool) -> None:
        step = move.bind(self.store, self.world, self.clock)
        trial = None
        if dry:
            traces = self.store.traces()
            wish = replace(self._wish(step.command, keyed=False), dry_run=True)
            trial = self._tell(wish, ledger)
            assert self.store.traces() == traces
        expected = self._expect(step)
        wish = self._wish(step.command)
        outcome = self._tell(wish, ledger)
        compare(expected, outcome, self.store)
        if isinstance(trial, Receipt):
            assert isinstance(outcome, Receipt)
            assert (trial.outcome, trial.answer) == (outcome.outcome, outcome.answer)

    # Several commands.

    @rule(
        moves=st.lists(drawn.moves, min_size=1, max_size=4),
        all_or_nothing=st.booleans(),
        ledger=drawn.ledger,
    )
    def batch(self, moves: list[Move], all_or_nothing: bool, ledger: int) -> None:
        steps = [move.bind(self.store, self.world, self.clock) for move in moves]
        wishes = [self._wish(step.command) for step in steps]
        batch = Batch(
            wishes=wishes,
            all_or_nothing=all_or_nothing,
            client_id="tests",
            key=f"batch-{self.wishes}",
            fingerprint=repr(wishes).encode(),
        )
        before = deepcopy(self.world)
        expected = []
        for step in steps:
            expected.append(self._expect(step))
            if all_or_nothing and isinstance(expected[-1], No):
                self.world = before
                break
        outcome = self._tell(batch, ledger)
        assert isinstance(outcome, BatchReceipt)
        if self.world is before:
            assert outcome.receipt.outcome == "batch_refused"
            assert outcome.receipt.answer["index"] == len(expected) - 1
            return
        assert outcome.receipt.outcome == "accepted"
        for expectation, result in zip(expected, outcome.results, strict=True):
            compare(expectation, result, self.store)

    @rule(moves=st.lists(drawn.moves, min_size=2, max_size=4), ledger=drawn.ledger)
    def together(self, moves: list[Move], ledger: int) -> None:
        """Commands of several callers that happen to arrive together."""
        steps = [move.bind(self.store, self.world, self.clock) for move in moves]
        wishes = [self._wish(step.command) for step in steps]
        expected = [self._expect(step) for step in steps]
        outcomes = self.ledgers[ledger].handle(wishes)
        self.told += zip(wishes, outcomes, strict=True)
        for expectation, outcome in zip(expected, outcomes, strict=True):
            compare(expectation, outcome, self.store)

    # Deliveries and faults.

    @precondition(lambda self: self.told)
    @rule(at=st.integers(0, 1000), ledger=drawn.ledger)
    def deliver_again(self, at: int, ledger: int) -> None:
        """A second delivery writes nothing and is told the same."""
        item, first = self.told[at % len(self.told)]
        if isinstance(first, LedgerError) or item.key is None:
            return
        traces = self.store.traces()
        [again] = self.ledgers[ledger].handle([item])
        assert self.store.traces() == traces
        if isinstance(first, BatchReceipt):
            assert isinstance(again, BatchReceipt)
            assert_replay(first.receipt, again.receipt)
        else:
            assert_replay(first, again)
        [other] = self.ledgers[ledger].handle([replace(item, fingerprint=b"another")])
        assert isinstance(other, KeyReused)
        assert self.store.traces() == traces

    @rule(fault=st.sampled_from(["lost", "unreached"]))
    def next_save_fails(self, fault: Literal["lost", "unreached"]) -> None:
        """The next save happens and nobody hears of it, or does not happen."""
        self.store.fault = fault

    @rule(ledger=drawn.ledger, snapshot=st.booleans())
    def restart(self, ledger: int, snapshot: bool) -> None:
        if snapshot:
            mirrors = [mirror for mirror in self.mirrors.values() if mirror.version]
            self.store.save_snapshots([snapshots.take(mirror) for mirror in mirrors])
        self.ledgers[ledger] = self._new_ledger()

    # Time.

    @rule(step=drawn.waits)
    def wait(self, step: timedelta) -> None:
        self._move_clock(self.clock + step)

    @rule(at=st.sampled_from([0, 0, 0, 1, 2]), offset=st.sampled_from([0, -1, 1]))
    def wait_until_due(self, at: int, offset: int) -> None:
        """To the very moment at which something starts, ends or lapses, or next to it."""
        moments = set()
        for account in self.world.accounts.values():
            moments |= {lot.starts for lot in account.lots}
            moments |= {lot.ends for lot in account.lots if lot.ends}
            moments |= {hold.ends for hold in account.holds}
        ahead = sorted(moment for moment in moments if moment > self.clock)
        if ahead:
            moment = ahead[at % len(ahead)] + timedelta(microseconds=offset)
            self._move_clock(max(self.clock, moment))

    def _move_clock(self, moment: datetime) -> None:
        if moment > self.clock:
            self.past.append((self.clock, self._balances(self.clock)))
            self.clock = moment
            self.world.pass_time(moment)

    @rule(first=drawn.soon, then=drawn.soon)
    def look_ahead(self, first: timedelta, then: timedelta) -> None:
        """Evaluating to b and then to c equals evaluating to c, and what the model says."""
        sooner, later = self.clock + first, self.clock + first + then
        future = deepcopy(self.world)
        future.pass_time(later)
        for who, mirror in self.mirrors.items():
            at_once = evaluate(mirror, later)
            by_steps = evaluate(evaluate(mirror, sooner), later)
            assert state_of(by_steps) == state_of(at_once)
            assert at_once.balance() == Balance(**future.accounts[who].balance(later))

    # What both say.

    def _wish(self, command: Command, *, keyed: bool = True) -> Wish:
        self.wishes += 1
        key = f"key-{self.wishes}" if keyed else None
        fingerprint = repr(command).encode()
        return Wish(
            command=command,
            actor="client:tests",
            client_id="tests",
            key=key,
            fingerprint=fingerprint,
        )

    def _tell(self, item: Wish | Batch, ledger: int) -> Outcome:
        [outcome] = self.ledgers[ledger].handle([item])
        if isinstance(outcome, Failed):
            message = f"the ledger failed on {item}"
            raise AssertionError(message) from outcome.__cause__  # noqa: TRY004 - a finding
        self.told.append((item, outcome))
        return outcome

    def _expect(self, step: Step) -> Expected | No:
        """What the model makes of it; a refusal changes nothing."""
        before = deepcopy(self.world)
        expected = expect(step, self.world, self.clock)
        if isinstance(expected, No):
            self.world = before
        return expected

    def _balances(self, at: datetime) -> dict[Who, Balance]:
        return {who: evaluate(mirror, at).balance() for who, mirror in self.mirrors.items()}

    @invariant()
    def accounts_are_what_the_model_says(self) -> None:
        for who, mirror in self.mirrors.items():
            self._catch_up(mirror)
            account, model = evaluate(mirror, self.clock), self.world.accounts[who]
            assert account.balance() == Balance(**model.balance(self.clock)), who
            grants = ids_of(self.store, who, e.Granted, ids.GRANT)
            holds = ids_of(self.store, who, e.Held, ids.HOLD)
            assert picture(account, grants, holds) == picture_of_model(model)
            for ledger in self.ledgers:
                self._compare_at_hand(ledger, mirror)

    def _compare_at_hand(self, ledger: Ledger, mirror: CreditAccount) -> None:
        """What a ledger keeps in memory is what follows from the events."""
        kept = ledger._books._kept.get(mirror.id)
        if isinstance(kept, CreditAccount) and kept.version == mirror.version:
            at_hand = evaluate(kept, self.clock)
            assert state_of(at_hand) == state_of(evaluate(mirror, self.clock))

    def _catch_up(self, mirror: CreditAccount) -> None:
        """Follow the log; each event says the balance that follows from all up to it."""
        for event in self.store.streams.get(mirror.id, [])[mirror.version :]:
            mirror.apply(event)
            assert isinstance(event, e.AccountEvent)
            assert event.after == mirror.balance()

    def teardown(self) -> None:
        self.store.fault = None
        for who in WHO:
            self._tell(self._wish(ExpireDue(account_id=ids.account_id(*who)), keyed=False), 0)
        self.accounts_are_what_the_model_says()
        prove_identities(self.store.log)
        for moment, balances in self.past:
            for who, balance in balances.items():
                stream = ids.account_id(*who)
                account = replayed(self.store.streams.get(stream, []), stream, moment)
                assert evaluate(account, moment).balance() == balance
        super().teardown()
