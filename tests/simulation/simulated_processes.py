"""Processes of the service, as the simulation runs them: the production code, minus its threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from creditledger.consumers import worker
from creditledger.consumers.runner import Runner
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Batch, Outcome, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.group_commit import CommitQueue
from memory_store import MemoryStore
from scheduler import Scheduler, Task
from simulated_read_side import ReadSide
from simulated_store import Faults, Lock, SimulatedStore
from simulated_stream import SimulatedStream

#: Small, so that queues are full now and then.
_QUEUE_LIMIT = 12

_WATCH_SECONDS = 2.0
_RECONNECT_SECONDS = 1.0
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Machine:
    """What all processes share: the time, the log and how it is reached.

    `batch_limit` and `cache_limit` are those of every writer, drawn small at times; `skewed` tells
    that the processes' clocks differ.
    """

    scheduler: Scheduler
    log: MemoryStore
    lock: Lock
    faults: Faults
    batch_limit: int
    cache_limit: int
    skewed: bool


class Api:
    """An API process: a ledger behind its queue. Its clock is off by `skew`."""

    def __init__(self, name: str, machine: Machine, skew: timedelta) -> None:
        self.name = name
        #: Counts the starts: who waits for an answer of an earlier one waits in vain.
        self.life = 0
        self.queue: CommitQueue | None = None
        self._machine = machine
        self._skew = skew
        self._tasks: list[Task] = []

    def start(self) -> None:
        """Begin with nothing in memory."""
        machine, scheduler = self._machine, self._machine.scheduler
        store = SimulatedStore(machine.log, machine.lock, machine.faults, scheduler)
        ledger = Ledger(store, now=self.now, cache_limit=machine.cache_limit)
        queue = CommitQueue(
            ledger,
            queue_limit=_QUEUE_LIMIT,
            batch_limit=machine.batch_limit,
            clock=scheduler.seconds,
        )
        self.queue = queue
        self.life += 1
        scheduler.note(f"{self.name} starts")
        self._go_on("writer", lambda: self._write(queue))
        self._go_on("watcher", lambda: self._watch(queue))

    def kill(self) -> None:
        """End at once, wherever it is."""
        self._machine.scheduler.note(f"{self.name} is killed")
        self.queue = None
        for task in self._tasks:
            self._machine.scheduler.kill(task)
        self._tasks = []

    def now(self) -> datetime:
        """The moment, by this process's clock."""
        return self._machine.scheduler.now() + self._skew

    def _go_on(self, part: str, function: Callable[[], None]) -> None:
        self._tasks.append(self._machine.scheduler.spawn(f"{self.name} {part}", function))

    def _write(self, queue: CommitQueue) -> None:
        while True:
            self._machine.scheduler.wait_for(lambda: queue.queued_commands > 0)
            queue.write_next()

    def _watch(self, queue: CommitQueue) -> None:
        while True:
            self._machine.scheduler.sleep(_WATCH_SECONDS)
            queue.give_up()


class _Reply(Future[Outcome]):
    """A future that is waited for on the simulated clock."""

    def __init__(self, answer: Future[Outcome], scheduler: Scheduler) -> None:
        super().__init__()
        self._answer = answer
        self._scheduler = scheduler

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait, let the others go on meanwhile, and return or raise what was told."""
        assert timeout is not None
        # Up to a whole second, because what is left of it was measured on the machine's clock.
        if not self._scheduler.wait_for(self._answer.done, math.ceil(timeout)):
            raise TimeoutError
        return self._answer.result()


class Worker(Api):
    """A process that works off deliveries through a ledger of its own, and keeps read models."""

    def __init__(
        self,
        name: str,
        machine: Machine,
        skew: timedelta,
        stream: SimulatedStream,
        read_side: ReadSide | None,
    ) -> None:
        super().__init__(name, machine, skew)
        self._stream = stream
        self._read_side = read_side

    def start(self) -> None:
        """Begin with nothing in memory and nothing in hand."""
        super().start()
        scheduler, read_side = self._machine.scheduler, self._read_side
        runner = Runner(self, now=self.now, stripe_livemode=False)
        for number in range(_WORKERS):
            self._go_on(f"consumer {number}", lambda: self._consume(runner))
        if read_side is not None:
            log, faults = self._machine.log, self._machine.faults
            follow = partial(read_side.follow, scheduler, lambda: len(log.log), lambda: faults.lost)
            self._go_on("projections", follow)

    def submit(self, item: Wish | Batch) -> Future[Outcome]:
        """The door to this process's ledger."""
        assert self.queue is not None
        return _Reply(self.queue.submit(item), self._machine.scheduler)

    def _consume(self, runner: Runner) -> None:
        while True:
            try:
                if not worker.step(self._stream, runner):
                    self._stream.free()
                    self._stream.wait(worker.WAIT_SECONDS)
            except Unavailable:
                self._machine.scheduler.sleep(_RECONNECT_SECONDS)
