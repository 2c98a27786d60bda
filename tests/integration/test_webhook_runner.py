"""From a delivery on the stream to credits on an account, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from itertools import count
from random import Random
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from creditledger.consumers.runner import FAULTS_MAX, Runner
from creditledger.consumers.worker import consume, step, work
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import Credits
from creditledger.domain.commands import Command, ReinstateGrant, RevokeGrant
from creditledger.domain.events import Balance
from creditledger.domain.payment import Payment
from creditledger.domain.provider_commands import (
    AssignPurchase,
    LinkCustomer,
    PurchaseLine,
    SetPrice,
)
from creditledger.domain.receipt import Batch, Outcome, Receipt, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra import deliveries
from creditledger.infra.delivery import Delivery, read_delivery
from creditledger.infra.group_commit import Overloaded
from creditledger.infra.postgres_stream import PostgresStream
from creditledger.infra.read_side import verify_ledger
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import Service, machine_clock, service
from provider_bodies import (
    BODIES,
    PLOVER,
    POLAR_PACK,
    PRICES,
    STRIPE_PACK,
    TERN,
    body,
    changed,
    event,
)

SESSION = "stripe.checkout.session.completed.payment_paid"
INTENT = "stripe.payment_intent.succeeded.pack"
PARTIAL_CHARGE = "stripe.charge.refunded.partial"
FULL_CHARGE = "stripe.charge.refunded.full"
REFUND = "stripe.refund.created.partial"
REFUND_AGAIN = "stripe.refund.updated.reference_available"
ORDER = "polar.order.paid.purchase"


class Desk:
    """Where deliveries come in and are worked off, one after another."""

    def __init__(self, parts: Service, **options: Any) -> None:
        self.parts = parts
        self.stream = PostgresStream(parts.url, parts.pool)
        self.runner = Runner(
            parts.writer, **{"now": machine_clock, "stripe_livemode": False, **options}
        )
        self._numbers = count()

    def wish(self, *commands: Command) -> None:
        """What people enter."""
        for command in commands:
            wish = Wish(command=command, actor="client:test", client_id="test", key=None)
            outcome = self.parts.writer.submit(wish).result(10)
            assert isinstance(outcome, Receipt), outcome
            assert outcome.outcome == "accepted"

    def put(self, content: bytes | str) -> Delivery:
        """A body (or one of the made ones by its name) as the webhook's route keeps it."""
        raw = body(content) if isinstance(content, str) else content
        polar = b'"api_version": "2026-10"' in raw
        headers = {"webhook-id": f"msg_{next(self._numbers)}"} if polar else {}
        delivery = read_delivery("polar" if polar else "stripe", raw, headers, machine_clock())
        self.stream.put(delivery)
        return delivery

    def work_off(self) -> None:
        """Try everything until nothing is due."""
        while step(self.stream, self.runner) or deliveries.free(self.parts.pool):
            pass

    def tell(self, *contents: bytes | str) -> None:
        """Deliver and work off, one by one."""
        for content in contents:
            self.put(content)
            self.work_off()

    def balance(self, customer_id: str = TERN) -> Balance:
        """What a customer has, from the log."""
        account = CreditAccount(ids.account_id(customer_id, "credits"))
        stream = self.parts.store.load([account.id]).get(account.id)
        for told in () if stream is None else stream.events:
            account.apply(told)
        return account.balance()

    def available(self, customer_id: str = TERN) -> int:
        return self.balance(customer_id).available

    def rows(self) -> list[dict[str, Any]]:
        """All deliveries, in the order in which they came."""
        with self.parts.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute("SELECT * FROM webhook_deliveries ORDER BY sequence").fetchall()

    def statuses(self) -> list[tuple[str, str | None]]:
        return [(row["status"], row["reason"]) for row in self.rows()]


@pytest.fixture
def parts(database_url: str) -> Iterator[Service]:
    with service(Settings(), database_url) as parts:
        yield parts


@pytest.fixture
def desk(parts: Service) -> Iterator[Desk]:
    """A desk at which no price is known."""
    desk = Desk(parts)
    yield desk
    desk.stream.close()


@pytest.fixture
def priced(desk: Desk) -> Desk:
    """A desk at which all prices are known."""
    desk.wish(*PRICES)
    return desk


def without_owner(name: str, **fields: Any) -> bytes:
    """A session that names no owner."""
    metadata = {"price_id": STRIPE_PACK, "quantity": "2"}
    return changed(name, metadata=metadata, client_reference_id=None, **fields)


class TestTheMainStory:
    def test_a_purchase_told_by_two_events_is_granted_once(self, priced: Desk) -> None:
        priced.tell(SESSION, INTENT, SESSION)
        assert priced.available() == 600
        assert priced.statuses() == [("done", None), ("done", None)]

    def test_refunds_told_by_three_events_are_taken_once(self, priced: Desk) -> None:
        priced.tell(SESSION, PARTIAL_CHARGE, REFUND, REFUND_AGAIN)
        assert priced.available() == 450
        priced.tell(FULL_CHARGE)
        assert priced.available() == 0

    def test_a_bank_debit_is_granted_when_it_has_come(self, priced: Desk) -> None:
        priced.tell("stripe.checkout.session.completed.payment_unpaid_async")
        assert priced.available(PLOVER) == 0
        priced.tell("stripe.checkout.session.async_payment_succeeded.bank_debit")
        assert priced.available(PLOVER) == 2000

    def test_an_order_and_its_refunds(self, priced: Desk) -> None:
        priced.tell(
            ORDER,
            "polar.refund.created.partial_succeeded",
            "polar.order.refunded.partial",
        )
        assert priced.available() == 400
        priced.tell(
            "polar.refund.updated.pending_to_succeeded",
            "polar.order.refunded.full",
        )
        assert priced.available() == 0
        assert {status for status, _ in priced.statuses()} == {"done"}

    def test_an_order_is_worth_what_its_product_says_where_nobody_entered_it(
        self, desk: Desk
    ) -> None:
        desk.tell(ORDER)
        assert desk.available() == 600

    def test_what_the_ledger_does_not_keep_is_ignored(self, priced: Desk) -> None:
        priced.tell(
            changed(SESSION, {"id": "evt_live", "livemode": True}),
            changed(SESSION, {"id": "evt_tea", "type": "tea.brewed"}),
            "stripe.checkout.session.expired.abandoned",
        )
        assert priced.statuses() == [
            ("ignored", "wrong_environment"),
            ("ignored", "unknown_type"),
            ("ignored", "nothing_to_book"),
        ]
        assert priced.available() == 0

    def test_what_comes_later_is_parked_and_waits_for_nothing(self, priced: Desk) -> None:
        priced.tell(
            "stripe.invoice.paid.subscription_create", "polar.order.paid.subscription_create"
        )
        assert priced.statuses() == [("parked", "unsupported_type")] * 2

    def test_who_told_it_stands_in_the_events(self, priced: Desk) -> None:
        delivery = priced.put(SESSION)
        priced.work_off()
        stream = ids.payment_stream("stripe", "pi_8kIJbT1rN7biotKnxdcLFdQT")
        [recorded, _] = priced.parts.store.load([stream])[stream].events
        assert recorded.context.actor == "provider:stripe"
        assert recorded.context.causation_id == delivery.delivery_id


class TestParking:
    def test_a_purchase_waits_for_its_price(self, desk: Desk) -> None:
        desk.tell(SESSION)
        [row] = desk.rows()
        assert (row["status"], row["reason"]) == ("parked", "unknown_price")
        assert row["waits_for"] == f"price:stripe:{STRIPE_PACK}"
        assert row["tries"] == 1
        desk.wish(SetPrice(provider="stripe", price_id=STRIPE_PACK, credits=Credits(300)))
        desk.work_off()
        assert desk.available() == 600
        assert desk.statuses() == [("done", None)]

    def test_a_purchase_waits_for_its_link(self, priced: Desk) -> None:
        priced.tell(without_owner(SESSION))
        assert priced.statuses() == [("parked", "unknown_customer")]
        priced.tell("stripe.customer.created.linked")
        assert priced.available() == 600

    def test_a_link_by_hand_frees_as_well(self, priced: Desk) -> None:
        customer = event(SESSION)["data"]["object"]["customer"]
        priced.tell(without_owner(SESSION))
        link = LinkCustomer(
            provider="stripe", provider_customer_id=customer, customer_id=TERN, origin="hand"
        )
        priced.wish(link)
        priced.work_off()
        assert priced.available() == 600

    def test_refunds_wait_for_the_payment(self, priced: Desk) -> None:
        priced.tell(REFUND, PARTIAL_CHARGE)
        assert priced.statuses() == [("parked", "unknown_payment")] * 2
        priced.tell(SESSION)
        assert priced.available() == 450
        assert priced.statuses() == [("done", None)] * 3

    def test_a_guests_purchase_waits_for_a_person(self, priced: Desk) -> None:
        priced.tell(without_owner(SESSION, customer=None))
        [row] = priced.rows()
        assert row["reason"] == "unknown_customer"
        assert row["payment"] == "pi_8kIJbT1rN7biotKnxdcLFdQT"
        priced.wish(
            AssignPurchase(provider="stripe", provider_id=row["payment"], customer_id="org_guest")
        )
        priced.work_off()
        assert priced.available("org_guest") == 600

    def test_what_was_parked_twice_is_freed_twice(self, desk: Desk) -> None:
        desk.tell(without_owner(SESSION))
        desk.tell("stripe.customer.created.linked")
        assert desk.statuses()[0] == ("parked", "unknown_price")
        desk.wish(PRICES[0])
        desk.work_off()
        assert desk.available() == 600

    def test_a_second_delivery_of_a_parked_purchase_is_freed_by_the_first(
        self, priced: Desk
    ) -> None:
        metadata = {"price_id": STRIPE_PACK, "quantity": "2"}
        priced.tell(without_owner(SESSION), changed(INTENT, metadata=metadata))
        customer = event(SESSION)["data"]["object"]["customer"]
        priced.tell(changed(SESSION, {"id": "evt_again"}, customer=customer))
        assert priced.statuses() == [("done", None)] * 3
        assert priced.available() == 600

    def test_news_that_came_between_look_and_parking_is_not_missed(self, desk: Desk) -> None:
        desk.put(SESSION)
        with desk.stream.take() as taken:
            assert taken is not None
            verdict = desk.runner.handle(taken)
            assert verdict.status == "parked"
            desk.wish(*PRICES)
            taken.settle(verdict)
        assert deliveries.free(desk.parts.pool) == 1
        desk.work_off()
        assert desk.available() == 600

    def test_what_has_no_news_stays_parked(self, desk: Desk) -> None:
        desk.tell(SESSION)
        desk.wish(SetPrice(provider="stripe", price_id="price_other", credits=Credits(1)))
        assert deliveries.free(desk.parts.pool) == 0

    def test_lines_that_the_api_tells_are_granted(self, parts: Service) -> None:
        asked = []

        def line_items(session_id: str) -> Sequence[PurchaseLine]:
            asked.append(session_id)
            return [PurchaseLine(price_id=STRIPE_PACK, quantity=3, amount=2100)]

        desk = Desk(parts, line_items=line_items)
        desk.wish(*PRICES)
        desk.tell(changed(SESSION, metadata={}))
        assert asked == [event(SESSION)["data"]["object"]["id"]]
        assert desk.available() == 900
        desk.stream.close()

    def test_lines_that_nobody_tells_are_parked(self, priced: Desk) -> None:
        priced.tell(changed(SESSION, metadata={}))
        assert priced.statuses() == [("parked", "unknown_price")]
        priced.tell(INTENT)
        assert priced.available() == 600
        assert priced.statuses() == [("done", None)] * 2


class Faulty:
    """A door to the ledger that fails for a while."""

    def __init__(self, parts: Service, *faults: Exception) -> None:
        self._writer = parts.writer
        self.faults = list(faults)

    def submit(self, item: Wish | Batch) -> Future[Outcome]:
        if self.faults:
            raise self.faults.pop(0)
        return self._writer.submit(item)


class TestFaults:
    @pytest.mark.parametrize("fault", [Unavailable("away"), Overloaded(1)])
    def test_a_ledger_that_cannot_be_reached_is_tried_for_as_long_as_it_takes(
        self, priced: Desk, fault: Exception
    ) -> None:
        faulty = Faulty(priced.parts, *[fault] * (FAULTS_MAX + 1))
        priced.runner = Runner(faulty, now=machine_clock, stripe_livemode=False)
        priced.put(SESSION)
        for tries in range(FAULTS_MAX + 1):
            assert step(priced.stream, priced.runner)
            assert priced.statuses() == [("received", "unavailable")]
            assert priced.rows()[0]["tries"] == tries + 1
            self.hurry(priced)
        priced.work_off()
        assert priced.available() == 600

    def test_a_delivery_that_fails_by_itself_fails_in_the_end_and_can_be_replayed(
        self, priced: Desk
    ) -> None:
        faulty = Faulty(priced.parts, *[ValueError("a bug")] * FAULTS_MAX)
        priced.runner = Runner(faulty, now=machine_clock, stripe_livemode=False)
        priced.put(SESSION)
        waits = []
        for _ in range(FAULTS_MAX):
            assert step(priced.stream, priced.runner)
            waits.append(self.hurry(priced))
        [row] = priced.rows()
        assert (row["status"], row["reason"]) == ("failed", "error")
        assert row["detail"] == "ValueError: a bug"
        assert [round(wait) for wait in waits[:4]] == [1, 2, 4, 8]
        assert not step(priced.stream, priced.runner)
        self.replay(priced)
        priced.work_off()
        assert priced.available() == 600

    def test_what_the_ledger_refuses_fails_and_says_why(self, desk: Desk) -> None:
        desk.wish(SetPrice(provider="stripe", price_id=STRIPE_PACK, credits=Credits(2**53 - 1)))
        desk.tell(SESSION)
        [row] = desk.rows()
        assert (row["status"], row["reason"]) == ("failed", "balance_limit_exceeded")

    def test_a_provider_whose_clock_is_ahead_is_believed_up_to_now(self, priced: Desk) -> None:
        ahead = int((machine_clock() + timedelta(minutes=4)).timestamp())
        priced.tell(changed(SESSION, {"created": ahead}))
        assert priced.available() == 600

    def hurry(self, desk: Desk) -> float:
        """Let what waits be due now; return how long it would have waited."""
        with desk.parts.pool.connection() as connection:
            row = connection.execute(
                "SELECT extract(epoch FROM due_at - now()) FROM webhook_deliveries"
            ).fetchone()
            connection.execute("UPDATE webhook_deliveries SET due_at = now()")
        assert row is not None
        return float(row[0])

    def replay(self, desk: Desk) -> None:
        with desk.parts.pool.connection() as connection:
            connection.execute(
                "UPDATE webhook_deliveries SET status = 'received', due_at = now(), faults = 0"
            )


def test_old_deliveries_are_deleted_once_they_are_settled(priced: Desk) -> None:
    priced.tell(SESSION, "stripe.checkout.session.expired.abandoned", "polar.product.created.plan")
    assert deliveries.clean(priced.parts.pool, timedelta(days=1)) == 0
    assert deliveries.clean(priced.parts.pool, timedelta(0)) == 2
    assert priced.statuses() == [("parked", "unsupported_type")]


def test_the_books_prove_right_whatever_was_told_and_done_by_hand(desk: Desk) -> None:
    told = [path.stem for path in sorted(BODIES.glob("*.json"))]
    Random(7).shuffle(told)
    desk.tell(*told[::2])
    desk.wish(*PRICES)
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


def test_workers_book_what_comes_and_stop_when_they_are_told(parts: Service) -> None:
    desk = Desk(parts)
    stop = Event()
    worker = Thread(target=consume, args=(parts, stop))
    worker.start()
    try:
        for name in (FULL_CHARGE, SESSION, INTENT, ORDER):
            desk.put(name)
        desk.wish(PRICES[0])
        eventually(lambda: [s for s, _ in desk.statuses()] == ["done"] * 4)
    finally:
        stop.set()
        worker.join(10)
        desk.stream.close()
    assert not worker.is_alive()
    assert desk.available() == 600


def test_a_worker_goes_on_after_the_database_was_away(parts: Service) -> None:
    desk = Desk(parts)
    desk.wish(*PRICES)
    stop = Event()
    worker = Thread(
        target=work,
        args=(desk.stream, desk.runner, parts.pool),
        kwargs={"retention": timedelta(days=90), "stop": stop},
    )
    worker.start()
    try:
        desk.put(SESSION)
        eventually(lambda: desk.available() == 600)
        with parts.pool.connection() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'creditledger webhooks'"
            )
        desk.put(FULL_CHARGE)
        eventually(lambda: desk.available() == 0)
    finally:
        stop.set()
        worker.join(10)
        desk.stream.close()


def eventually(holds: Any, seconds: float = 20) -> None:
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it did not come to that"
        sleep(0.05)


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
