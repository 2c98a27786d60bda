"""What the providers tell of a customer, late, twice and out of order; and what must come of it."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime
from random import Random
from uuid import UUID

from creditledger.consumers.runner import Runner
from creditledger.consumers.worker import step
from creditledger.domain import ids
from creditledger.domain.events import Balance
from creditledger.domain.ledger import Ledger
from creditledger.domain.provider_commands import Provider
from creditledger.domain.receipt import Batch, Outcome, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.delivery import Delivery, read_delivery
from memory_store import MemoryStore
from proofs import replayed
from provider_bodies import PLOVER, PRICES, TERN, body
from scheduler import Scheduler
from simulated_stream import SimulatedStream

#: Two packs at Stripe and one at Polar, each told of by several events, and refunded in parts; and
#: a bank debit that takes days.
_BODIES = (
    "stripe.checkout.session.completed.payment_paid",
    "stripe.payment_intent.succeeded.pack",
    "stripe.charge.refunded.partial",
    "stripe.refund.created.partial",
    "stripe.refund.updated.reference_available",
    "stripe.charge.refunded.full",
    "stripe.checkout.session.completed.payment_unpaid_async",
    "stripe.checkout.session.async_payment_succeeded.bank_debit",
    "polar.order.paid.purchase",
    "polar.order.refunded.partial",
    "polar.refund.created.partial_succeeded",
    "polar.order.refunded.full",
)

_LATE_SECONDS_MAX = 20.0
_TIMES_MAX = 3
_RETRY_SECONDS = 3.0


class ProviderStory:
    """Some of the story's events, each delivered once or more, at moments of its own."""

    def __init__(self, chance: Random) -> None:
        told = chance.sample(_BODIES, chance.randint(1, len(_BODIES)))
        self._told = sorted(told, key=_BODIES.index)
        deliveries = [name for name in told for _ in range(chance.randint(1, _TIMES_MAX))]
        self._schedule = sorted((chance.uniform(0, _LATE_SECONDS_MAX), n) for n in deliveries)

    def deliver(self, stream: SimulatedStream, scheduler: Scheduler) -> None:
        """Send everything, each again until the edge has kept it."""
        for seconds, name in self._schedule:
            scheduler.sleep(max(0.0, seconds - scheduler.seconds()))
            while True:
                try:
                    stream.put(_delivery(name, scheduler.now()))
                    break
                except Unavailable:
                    scheduler.sleep(_RETRY_SECONDS)

    def prove(self, log: MemoryStore) -> None:
        """Assert that the customers have what they would have, had nothing gone wrong."""
        calm = MemoryStore()
        self._tell_calmly(calm)
        for customer_id in (TERN, PLOVER):
            stream = ids.account_id(customer_id, "credits")
            assert _balance(log, stream) == _balance(calm, stream), customer_id

    def _tell_calmly(self, log: MemoryStore) -> None:
        scheduler = Scheduler(Random(0))
        ledger = Ledger(log, now=scheduler.now)
        wishes = [
            Wish(command=price, actor="system:set-up", client_id="set-up", key=None)
            for price in PRICES
        ]
        ledger.handle(wishes)
        stream = SimulatedStream(log, scheduler, fault_rate=0)
        runner = Runner(_Calm(ledger), now=scheduler.now, stripe_livemode=False)

        def work() -> None:
            for name in self._told:
                stream.put(_delivery(name, scheduler.now()))
            while step(stream, runner) or stream.free():
                pass

        task = scheduler.spawn("calm", work)
        scheduler.run(lambda: task.done)


class _Calm:
    """A writer that decides at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def submit(self, item: Wish | Batch) -> Future[Outcome]:
        answer: Future[Outcome] = Future()
        answer.set_result(self._ledger.handle([item])[0])
        return answer


def _delivery(name: str, now: datetime) -> Delivery:
    provider: Provider = "stripe" if name.startswith("stripe") else "polar"
    return read_delivery(provider, body(name), {"webhook-id": name}, now)


def _balance(log: MemoryStore, stream: UUID) -> Balance:
    return replayed(log.streams.get(stream, ()), stream).balance()
