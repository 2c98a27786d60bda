"""Clients of the simulated service: they send, wait, lose patience, and send again by the key.

All that they were told is kept, with when it was sent and answered, for `promises.py` to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from chance_moves import draw_move
from creditledger.domain import ids
from creditledger.domain.commands import Command, ExpireDue
from creditledger.domain.errors import KeyReused
from creditledger.domain.receipt import Batch, BatchReceipt, Outcome, Receipt, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.group_commit import Overloaded
from log_replay import accounts_of
from moves import WHO, Step, World
from scheduler import Scheduler
from simulated_processes import Api, Machine

#: How long a client waits for an answer before it sends again.
_PATIENCE_SECONDS = (0.05, 2.0, 40.0)

_RETRY_SECONDS_MAX = 2.0
_THINK_SECONDS_MAX = 0.8


#: Answers that leave a receipt: whatever comes by the same key is held against that.
REMEMBERED = (Receipt, BatchReceipt)


@dataclass(slots=True)
class Answer:
    """One definite answer: what was told, and the scheduler's steps at which it was asked for and
    came."""

    sent: int
    came: int
    told: Outcome


@dataclass(eq=False)
class Call:
    """A wish or batch that somebody sent, as often as it took, with the model's plays of it."""

    item: Wish | Batch
    steps: Sequence[Step]
    first_sent: int
    answers: list[Answer] = field(default_factory=list)

    @property
    def remembered(self) -> Answer | None:
        """The first answer that left a receipt, where it has a key and there was one."""
        if self.item.key is None:
            return None
        return next((one for one in self.answers if isinstance(one.told, REMEMBERED)), None)

    def wishes(self) -> Sequence[Wish]:
        """Its wishes: one, or a batch's."""
        return self.item.wishes if isinstance(self.item, Batch) else (self.item,)


class Client:
    """One caller, with one command under way at a time."""

    def __init__(self, number: int, machine: Machine, apis: Sequence[Api], world: World) -> None:
        self.calls: list[Call] = []
        self._name = f"client-{number}"
        self._machine = machine
        self._scheduler: Scheduler = machine.scheduler
        self._chance = machine.scheduler.chance
        self._apis = apis
        #: Tells how large amounts are; nothing is played on it.
        self._world = world
        self._sent = 0

    def press(self, calls: int) -> None:
        """Send so many calls, each until it has a definite answer."""
        for _ in range(calls):
            self._scheduler.sleep(self._chance.uniform(0, _THINK_SECONDS_MAX))
            call = self._draw()
            self.calls.append(call)
            self.settle(call)
            if self._chance.random() < 0.2:
                # Once more, long after the answer: the first one must come again.
                self._insist(partial(self._ask, call))
            if call.remembered is not None and self._chance.random() < 0.1:
                self._insist(partial(self._misuse, call))

    def enter(self, *commands: Command) -> None:
        """Send what an operator wishes."""
        for command in commands:
            call = Call(self._wish(command), (), self._scheduler.steps)
            self.calls.append(call)
            self.settle(call)

    def settle(self, call: Call) -> None:
        """Send it until there is a definite answer."""
        self._insist(partial(self._ask, call))

    def _insist(self, ask: Callable[[], bool]) -> None:
        while not ask():
            self._scheduler.sleep(self._chance.uniform(0, _RETRY_SECONDS_MAX))

    # What is sent.

    def _draw(self) -> Call:
        steps = self._scheduler.steps
        kind = self._chance.random()
        if kind < 0.06:
            who = self._chance.choice(WHO)
            command = ExpireDue(account_id=ids.account_id(*who))
            return Call(self._wish(command, keyed=False), (), steps)
        if kind < 0.10:
            step = self._bind()
            dry = replace(self._wish(step.command, keyed=False), dry_run=True)
            return Call(dry, (), steps)
        if kind < 0.25:
            return self._draw_batch()
        step = self._bind()
        return Call(self._wish(step.command), [step], steps)

    def _draw_batch(self) -> Call:
        bound = [self._bind() for _ in range(self._chance.randint(1, 4))]
        wishes = [self._wish(step.command) for step in bound]
        batch = Batch(
            wishes=wishes,
            all_or_nothing=self._chance.random() < 0.5,
            client_id=self._name,
            key=f"batch-{self._sent}",
            fingerprint=repr(wishes).encode(),
        )
        return Call(batch, bound, self._scheduler.steps)

    def _bind(self) -> Step:
        log, now = self._machine.log, self._scheduler.now()
        step = draw_move(self._chance, now).bind(log, self._world, now)
        while self._machine.skewed and len(accounts_of(step)) > 1:
            # The model knows one moment for all accounts; each has reached one of its own.
            step = draw_move(self._chance, now).bind(log, self._world, now)
        return step

    def _wish(self, command: Command, *, keyed: bool = True) -> Wish:
        self._sent += 1
        return Wish(
            command=command,
            actor=f"client:{self._name}",
            client_id=self._name,
            key=f"key-{self._sent}" if keyed else None,
            fingerprint=repr(command).encode(),
        )

    # How it is sent.

    def _ask(self, call: Call) -> bool:
        """Send it once; whether there was a definite answer."""
        sent = self._scheduler.steps
        told = self._send(call.item)
        if told is not None:
            call.answers.append(Answer(sent, self._scheduler.steps, told))
        return told is not None

    def _misuse(self, call: Call) -> bool:
        """Another command by the same key is not done."""
        told = self._send(replace(call.item, fingerprint=b"another"))
        assert told is None or isinstance(told, KeyReused), told
        return told is not None

    def _send(self, item: Wish | Batch) -> Outcome | None:
        """What one process tells of it; None where there is no answer, or a vague one."""
        scheduler = self._scheduler
        api = self._chance.choice(self._apis)
        queue, life = api.queue, api.life
        if queue is None:
            return None
        try:
            answer = queue.submit(item)
        except Overloaded:
            return None
        scheduler.note(f"{self._name} asks {api.name}: {item.key}")
        patience = self._chance.choice(_PATIENCE_SECONDS)
        scheduler.wait_for(lambda: answer.done() or api.life != life, patience)
        scheduler.pause()
        if api.queue is not queue or not answer.done() or self._chance.random() < 0.02:
            return None
        try:
            told = answer.result()
        except (Unavailable, Overloaded) as vague:
            scheduler.note(f"{self._name} is told of {item.key}: {vague}")
            return None
        scheduler.note(f"{self._name} is told of {item.key}: {type(told).__name__}")
        return told
