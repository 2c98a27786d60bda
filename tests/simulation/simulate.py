"""The whole service in one process, under faults drawn from a seed.

Two API processes and two workers share one log. Clients send commands and retry them by their
keys, providers send webhooks, processes are killed and started again, and the ways to the log and
to the stream fail as `Faults` says. When all is quiet again, what everybody was told is held
against the log (`promises.py`), and the log against the reference model and the service's own
proof. With a database the log is PostgreSQL's as well, the read models follow it through crashes,
and `creditledger verify` judges them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial
from random import Random
from unittest.mock import patch

from creditledger.consumers import runner
from creditledger.domain import books, ids, ledger, recent
from creditledger.domain.commands import Command, ExpireDue
from creditledger.domain.receipt import ACCEPTED, Receipt, Wish
from memory_store import MemoryStore
from moves import WHO, World, prices
from promises import prove
from provider_bodies import PLANS, PRICES
from provider_story import ProviderStory
from reference_model import LARGEST
from scheduler import Scheduler
from simulated_clients import Client
from simulated_processes import Api, Machine, Worker
from simulated_read_side import ReadSide
from simulated_store import Faults, Lock, MirroredStore
from simulated_stream import SimulatedStream

_CLIENTS = 4
_CALLS_OF_A_CLIENT = 18

#: How long things go wrong; then everything works, so that an end can be waited for.
_STORM_SECONDS = 25.0
_KILL_SECONDS_MAX = 8.0
_DOWN_SECONDS_MAX = 3.0

#: Longer than anything that was under way may take.
_QUIET_SECONDS = 45.0
_LAST_SECONDS = 10.0


#: How far the processes' clocks are off.
_IN_TIME = (timedelta(0),)
_SKEWED = (timedelta(0), timedelta(seconds=2), -timedelta(seconds=3))


class Failure(AssertionError):
    """A seed under which a promise was broken, and how to see it again."""

    def __init__(self, seed: int, fault: Exception, trace: str) -> None:
        text = f"{trace}\n{type(fault).__name__}: {fault}\nseed {seed} fails"
        super().__init__(f"{text}; `make simulate SEED={seed}` plays it again")


@dataclass(frozen=True, slots=True)
class Played:
    """What one seed came to; `digest` is the same whenever it is played."""

    digest: str
    steps: int
    events: int
    calls: int


def simulate(seed: int, read_side: ReadSide | None = None) -> Played:
    """Play one seed to its end. Raises Failure where anything is not as it was promised."""
    simulation = Simulation(seed, read_side)
    try:
        return simulation.run()
    except Exception as fault:
        raise Failure(seed, fault, simulation.scheduler.last_steps()) from fault


class Simulation:
    """One seed's world."""

    def __init__(self, seed: int, read_side: ReadSide | None) -> None:
        chance = Random(seed)
        self.scheduler = Scheduler(chance)
        self._chance = chance
        self._read_side = read_side
        self._log = MemoryStore() if read_side is None else MirroredStore(read_side.begin())
        skews = chance.choice((_IN_TIME, _SKEWED))
        self._machine = Machine(
            scheduler=self.scheduler,
            log=self._log,
            lock=Lock(),
            faults=Faults.drawn(chance),
            batch_limit=chance.choice((1, 3, 1000)),
            cache_limit=chance.choice((1, 5, 1000)),
            skewed=skews is _SKEWED,
        )
        self._world = World(scale=chance.choice((1, 1, 1, LARGEST // 10)))
        self._stream = SimulatedStream(
            self._log, self.scheduler, fault_rate=chance.choice((0, 10, 100))
        )
        self._apis = [Api(name, self._machine, chance.choice(skews)) for name in ("api 1", "api 2")]
        self._processes: list[Api] = [*self._apis]
        for name in ("worker 1", "worker 2"):
            skew = chance.choice(skews)
            self._processes.append(Worker(name, self._machine, skew, self._stream, read_side))
        self._clients = [
            Client(number, self._machine, self._apis, self._world) for number in range(_CLIENTS + 1)
        ]
        self._story = ProviderStory(chance, known=prices(self._world))
        self._busy = 0

    def run(self) -> Played:
        """Play it, and judge it."""
        scheduler = self.scheduler
        before = deepcopy(self._world)
        with ExitStack() as stack:
            for module, name, value in (
                # So small that what they bound is met within some dozen commands.
                (books, "SNAPSHOT_INTERVAL", 5),
                (books, "SNAPSHOTS_SAVED_EVERY", 7),
                (recent, "RECENT_RECEIPTS", 3),
                (runner, "monotonic", scheduler.seconds),
            ):
                stack.enter_context(patch.object(module, name, value))
            # Faults are all that happens here; what matters is raised.
            stack.callback(logging.disable, logging.root.manager.disable)
            logging.disable(logging.CRITICAL)
            stack.callback(scheduler.end)
            self._enter_calmly(prices(self._world))
            self._begin()
            self._play_until_quiet()
            self._enter_calmly([ExpireDue(account_id=ids.account_id(*who)) for who in WHO])
            self._occupy("end", lambda: scheduler.sleep(_LAST_SECONDS))
            scheduler.run(lambda: not self._busy)
        calls = [call for client in self._clients for call in client.calls]
        at = scheduler.now()
        prove(self._log, calls, before, at)
        self._story.prove(self._log, self._stream, at)
        if self._read_side is not None:
            self._read_side.judge(at)
        return Played(scheduler.digest, scheduler.steps, len(self._log.log), len(calls))

    def _begin(self) -> None:
        *clients, operator = self._clients
        for process in self._processes:
            process.start()
        for client in clients:
            self._occupy("client", partial(client.press, _CALLS_OF_A_CLIENT))
        self._occupy("operator", partial(operator.enter, *PRICES, *PLANS))
        self._occupy("provider", partial(self._story.deliver, self._stream, self.scheduler))
        self._occupy("storm", self._storm)

    def _play_until_quiet(self) -> None:
        scheduler = self.scheduler
        scheduler.run(lambda: not self._busy and not self._stream.waiting())
        # What was given up by those who waited may still be under way.
        self._occupy("quiet", lambda: scheduler.sleep(_QUIET_SECONDS))
        scheduler.run(lambda: not self._busy)
        assert not self._stream.waiting()

    def _occupy(self, name: str, function: Callable[[], None]) -> None:
        """Begin a task that must come to its end."""
        self._busy += 1

        def task() -> None:
            function()
            self._busy -= 1

        self.scheduler.spawn(name, task)

    def _storm(self) -> None:
        """Kill and start processes for a while; then let everything work again."""
        scheduler, chance = self.scheduler, self._chance
        while scheduler.seconds() < _STORM_SECONDS:
            scheduler.sleep(chance.uniform(0, _KILL_SECONDS_MAX))
            process = chance.choice(self._processes)
            process.kill()
            scheduler.sleep(chance.uniform(0, _DOWN_SECONDS_MAX))
            process.start()
        scheduler.note("everything works")
        for fault in fields(self._machine.faults):
            setattr(self._machine.faults, fault.name, 0)
        self._stream.fault_rate = 0

    def _enter_calmly(self, commands: Sequence[Command]) -> None:
        """Enter what nothing may disturb."""
        calm = ledger.Ledger(self._log, now=self.scheduler.now)
        for command in commands:
            wish = Wish(
                command=command,
                actor="system:set-up",
                client_id="set-up",
                key=None,
                causation_id="set-up",
            )
            [told] = calm.handle([wish])
            assert isinstance(told, Receipt), told
            assert told.outcome == ACCEPTED, told
