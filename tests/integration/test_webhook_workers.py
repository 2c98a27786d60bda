"""Workers on the stream of deliveries, whatever the order of the news and whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from random import Random
from threading import Event, Thread
from typing import cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creditledger.consumers.runner import Runner
from creditledger.consumers.worker import consume, work
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.commands import ReinstateGrant, RevokeGrant
from creditledger.domain.events import Balance
from creditledger.domain.payment import Payment
from creditledger.domain.provider_commands import (
    SetPrice,
)
from creditledger.infra import deliveries
from creditledger.infra.delivery import Taken
from creditledger.infra.proof import verify_ledger
from creditledger.infra.wiring import machine_clock
from provider_bodies import (
    BODIES,
    PLANS,
    PLOVER,
    POLAR_PACK,
    PRICES,
    STRIPE_PACK,
    TERN,
    body,
    changed,
)
from webhook_desk import (
    FULL_CHARGE,
    INTENT,
    ORDER,
    PARTIAL_CHARGE,
    REFUND,
    REFUND_AGAIN,
    SESSION,
    Desk,
    eventually,
)


def test_old_deliveries_are_deleted_once_they_are_settled(priced: Desk) -> None:
    old = changed(INTENT, {"api_version": "2022-11-15"})
    priced.tell(SESSION, "stripe.checkout.session.expired.abandoned", old)
    assert deliveries.clean(priced.parts.pool, timedelta(days=1)) == 0
    assert deliveries.clean(priced.parts.pool, timedelta(0)) == 2
    assert priced.statuses() == [("parked", "unsupported_version")]


def test_the_books_prove_right_whatever_was_told_and_done_by_hand(desk: Desk) -> None:
    # A dispute would take back what is revoked by hand below.
    told = [path.stem for path in sorted(BODIES.glob("*.json")) if "dispute" not in path.stem]
    Random(7).shuffle(told)
    desk.tell(*told[::2])
    desk.wish(*PRICES, *PLANS)
    desk.tell(*told[1::2])
    payment = Payment(ids.payment_stream("stripe", "pi_62uGsz8BpL0m4DAoljSXKwQW"))
    for recorded in desk.parts.store.load([payment.id])[payment.id].events:
        payment.apply(recorded)
    [grant] = payment.grants
    refund = changed(
        REFUND, {"id": "evt_of_plover"}, payment_intent=payment.provider_id, amount=1300
    )
    desk.wish(RevokeGrant(grant_id=grant.grant_id, amount=Credits(300)))
    desk.tell(refund)
    desk.wish(ReinstateGrant(grant_id=grant.grant_id, amount=Credits(500)))
    assert desk.available(PLOVER) == 1500
    report = verify_ledger(desk.parts.url, at=machine_clock())
    assert report.clean, report.differences


def test_workers_book_what_comes_and_stop_when_they_are_told(desk: Desk) -> None:
    stop = Event()
    worker = Thread(target=consume, args=(desk.parts, stop))
    worker.start()
    try:
        for name in (FULL_CHARGE, SESSION, INTENT, ORDER):
            desk.put(name)
        desk.wish(PRICES[0])
        eventually(lambda: [s for s, _ in desk.statuses()] == ["done"] * 4)
    finally:
        stop.set()
        worker.join(10)
    assert not worker.is_alive()
    assert desk.available() == 600


def test_a_worker_goes_on_after_the_database_was_away(priced: Desk) -> None:
    with working(priced):
        priced.put(SESSION)
        eventually(lambda: priced.available() == 600)
        with priced.parts.pool.connection() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'creditledger webhooks'"
                " AND datname = current_database()"
            )
        priced.put(FULL_CHARGE)
        eventually(lambda: priced.available() == 0)


class Stumbling:
    """A runner that stumbles over its first delivery."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._stumbled = False

    def handle(self, batch: Sequence[Taken]) -> None:
        if not self._stumbled:
            self._stumbled = True
            raise RuntimeError("a fault where none was expected")
        self._runner.handle(batch)


def test_a_worker_goes_on_after_a_fault(priced: Desk) -> None:
    priced.runner = cast(Runner, Stumbling(priced.runner))
    with working(priced):
        priced.put(SESSION)
        eventually(lambda: priced.available() == 600)


@contextmanager
def working(desk: Desk) -> Iterator[None]:
    """A worker at the desk."""
    stop = Event()
    worker = Thread(
        target=work,
        args=(desk.stream, desk.runner, desk.parts.pool),
        kwargs={"stop": stop},
    )
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(10)


#: What two providers told of two purchases, and how each ended: Stripe's with a quarter refunded,
#: Polar's with a third.
NEWS = (
    SESSION,
    INTENT,
    PARTIAL_CHARGE,
    REFUND,
    REFUND_AGAIN,
    "stripe.customer.created.linked",
    ORDER,
    "polar.order.refunded.partial",
    "polar.refund.created.partial_succeeded",
    "polar.customer.created.with_external_id",
)
STORIES = count()


def as_of_another_customer(name: str, number: int) -> bytes:
    """A body in which every id is another one, so that each story stands for itself."""
    raw = body(name)
    for text in ("org_tern", "cus_ncpckeCHVGLA5q", "pi_8kIJbT1rN7biotKnxdcLFdQT"):
        raw = raw.replace(text.encode(), f"{text}{number}".encode())
    for text in ("3906d812", "906e66f9", "evt_", "re_3rd"):
        raw = raw.replace(text.encode(), f"{text}{number}".encode())
    return raw


@given(
    news=st.lists(st.sampled_from(NEWS), max_size=3).flatmap(
        lambda again: st.permutations([*NEWS, *again])
    ),
    priced_after=st.integers(0, len(NEWS)),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_order_and_repetition_do_not_matter(desk: Desk, news: list[str], priced_after: int) -> None:
    number = next(STORIES)
    price_id = f"{STRIPE_PACK}{number}"
    for place, name in enumerate([*news, ""]):
        if place == priced_after:
            desk.wish(
                SetPrice(provider="stripe", price_id=price_id, credits=Credits(300)),
                replace(PRICES[2], price_id=POLAR_PACK),
            )
        if name:
            content = as_of_another_customer(name, number)
            desk.put(content.replace(STRIPE_PACK.encode(), price_id.encode()))
        desk.work_off()
    assert desk.balance(f"{TERN}{number}") == Balance(450 + 400, 0, 0, 0, 0)
    assert {status for status, _ in desk.statuses()} == {"done"}
