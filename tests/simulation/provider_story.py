"""What the providers tell of customers, late, twice and out of order; and what must come of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

from body_story import Body, ending
from creditledger.consumers.runner import Runner
from creditledger.consumers.worker import step
from creditledger.domain.commands import Command
from creditledger.domain.ledger import Ledger
from creditledger.domain.provider_commands import Provider
from creditledger.domain.receipt import Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.delivery import Delivery, read_delivery
from memory_store import MemoryStore
from moves import CUSTOMERS
from provider_bodies import PLANS, PRICES
from provider_stories import STORIES
from scheduler import START, Scheduler
from simulated_stream import SimulatedStream
from writer_at_once import AtOnce

#: Of so many stories something is told: packs, bank debits, subscriptions, their refunds, disputes.
_STORIES_MAX = 2

_LATE_SECONDS_MAX = 20.0
_TIMES_MAX = 3
_RETRY_SECONDS = 3.0


class ProviderStory:
    """Some of what happened until now, each delivered once or more, at moments of its own.

    `known` are the prices that the log knows before; the story's own ones may come at any time.
    """

    def __init__(self, chance: Random, known: Sequence[Command]) -> None:
        stories = chance.sample(sorted(STORIES), chance.randint(1, _STORIES_MAX))
        bodies = {body.name: body for name in stories for body in STORIES[name]}
        past = [body for body in bodies.values() if _happened_at(body) <= START]
        left_out = chance.choice((0, 0, len(past) // 2, len(past) - 1))
        told = chance.sample(past, len(past) - left_out)
        self._known = known
        self._told = sorted(told, key=past.index)
        deliveries = [body for body in told for _ in range(chance.randint(1, _TIMES_MAX))]
        self._schedule = sorted((chance.uniform(0, _LATE_SECONDS_MAX), b) for b in deliveries)

    def deliver(self, stream: SimulatedStream, scheduler: Scheduler) -> None:
        """Send everything, each again until the edge has kept it."""
        for seconds, body in self._schedule:
            scheduler.sleep(max(0.0, seconds - scheduler.seconds()))
            while True:
                try:
                    stream.put(_delivery(body, scheduler.now()))
                    break
                except Unavailable:
                    scheduler.sleep(_RETRY_SECONDS)

    def prove(self, log: MemoryStore, stream: SimulatedStream, at: datetime) -> None:
        """Assert that it has come to what it would have, had nothing gone wrong."""
        calm, calm_stream = self._tell_calmly()
        found, expected = (ending(one, at, beside=CUSTOMERS) for one in (log, calm))
        for what, was_expected in expected.items():
            assert found[what] == was_expected, (what, found[what], was_expected)
        assert stream.parked() == calm_stream.parked()

    def _tell_calmly(self) -> tuple[MemoryStore, SimulatedStream]:
        log = MemoryStore()
        scheduler = Scheduler(Random(0))
        ledger = Ledger(log, now=scheduler.now)
        wishes = [
            Wish(command=price, actor="system:set-up", client_id="set-up", key=None)
            for price in (*self._known, *PRICES, *PLANS)
        ]
        ledger.handle(wishes)
        stream = SimulatedStream(log, scheduler, fault_rate=0)
        runner = Runner(AtOnce(ledger), now=scheduler.now, stripe_livemode=False)

        def work() -> None:
            for body in self._told:
                stream.put(_delivery(body, scheduler.now()))
            while step(stream, runner) or stream.free():
                pass

        task = scheduler.spawn("calm", work)
        scheduler.run(lambda: task.done)
        return log, stream


def _delivery(body: Body, now: datetime) -> Delivery:
    provider: Provider = "stripe" if body.name.startswith("stripe") else "polar"
    return read_delivery(provider, body.as_delivered(), {"webhook-id": body.name}, now)


def _happened_at(body: Body) -> datetime:
    content = json.loads(body.text)
    if "created" in content:
        return datetime.fromtimestamp(content["created"], UTC)
    return datetime.fromisoformat(content["timestamp"])
