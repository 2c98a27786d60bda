"""From a delivery on the stream to credits on an account, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from datetime import timedelta

import pytest

from creditledger.consumers.runner import FAULTS_MAX, Runner
from creditledger.consumers.worker import step
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.provider_commands import (
    AssignPurchase,
    LinkCustomer,
    PurchaseLine,
    SetPrice,
)
from creditledger.domain.receipt import Batch, Outcome, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.group_commit import Overloaded
from creditledger.infra.parking import Parking
from creditledger.infra.wiring import Service, machine_clock
from provider_bodies import (
    PLOVER,
    PRICES,
    STRIPE_PACK,
    TERN,
    changed,
    event,
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
    without_owner,
)


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

    def test_a_strange_value_is_told_as_far_as_it_can_be_kept(self, priced: Desk) -> None:
        priced.tell(changed(SESSION, {"api_version": "\0" + "x" * 5000}))
        [row] = priced.rows()
        assert row["reason"] == "unsupported_version"
        assert row["detail"].startswith("api_version \ufffdxxx")

    def test_a_version_that_is_not_read_is_parked_and_waits_for_nothing(self, priced: Desk) -> None:
        priced.tell(changed(SESSION, {"api_version": "2022-11-15"}))
        [row] = priced.rows()
        assert (row["status"], row["reason"]) == ("parked", "unsupported_version")
        assert row["waits_for"] is None

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
        with desk.stream.take(1) as [taken]:
            desk.runner.handle([taken])
            assert taken.verdict is not None
            assert taken.verdict.status == "parked"
            desk.wish(*PRICES)
        assert Parking(desk.parts.pool).free() == 1
        desk.work_off()
        assert desk.available() == 600

    def test_what_has_no_news_stays_parked(self, desk: Desk) -> None:
        desk.tell(SESSION)
        desk.wish(SetPrice(provider="stripe", price_id="price_other", credits=Credits(1)))
        assert Parking(desk.parts.pool).free() == 0

    def test_lines_that_the_api_tells_are_granted(self, priced: Desk) -> None:
        asked = []

        def line_items(object_id: str) -> Sequence[PurchaseLine]:
            asked.append(object_id)
            return [PurchaseLine(price_id=STRIPE_PACK, quantity=3, amount=2100)]

        priced.runner = Runner(
            priced.parts.writer, now=machine_clock, stripe_livemode=False, line_items=line_items
        )
        priced.tell(changed(SESSION, metadata={}))
        assert asked == [event(SESSION)["data"]["object"]["id"]]
        assert priced.available() == 900

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
