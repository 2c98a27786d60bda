"""From the providers' lists to credits on accounts, on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime

import pytest

from creditledger.infra.delivery import BODY_BYTES_MAX
from creditledger.infra.polar_lists import PolarLists
from creditledger.infra.proof import verify_ledger
from creditledger.infra.provider_lists import Lists, Patience, Window
from creditledger.infra.reconciliation import MARK, Tally, reconcile, standing
from creditledger.infra.stripe_lists import StripeLists
from creditledger.infra.wiring import machine_clock
from polar_server import DUNLIN, TOKEN, Polar
from provider_bodies import PRICES, TERN, body, changed, event
from stripe_server import API_KEY, SESSION, SUBSCRIPTION, Stripe, subject
from webhook_desk import Desk, open_desk

SINCE = datetime(2026, 8, 10, tzinfo=UTC)
UNTIL = datetime(2026, 9, 15, tzinfo=UTC)


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """A desk at which all prices are known."""
    with open_desk(database_url, *PRICES) as desk:
        yield desk


@pytest.fixture
def polar_lists(polar: Polar) -> Iterator[PolarLists]:
    lists = PolarLists(TOKEN, "sandbox", patience=Patience(), now=machine_clock, address=polar.url)
    yield lists
    lists.close()


@pytest.fixture
def stripe_lists(stripe: Stripe) -> Iterator[StripeLists]:
    lists = StripeLists(
        API_KEY, livemode=False, patience=Patience(), now=machine_clock, address=stripe.url
    )
    yield lists
    lists.close()


def bring(desk: Desk, lists: Lists, *, dry_run: bool = False) -> Tally:
    """Reconcile, and have everything worked off."""
    tally = Tally()
    reconcile(
        lists,
        Window(SINCE, UNTIL),
        stream=desk.stream,
        pool=desk.parts.pool,
        now=machine_clock,
        tally=tally,
        dry_run=dry_run,
    )
    desk.work_off()
    return tally


def new(tally: Tally) -> dict[str, int]:
    return {kind: len(brought) for kind, brought in tally.brought.items()}


def assert_proved(desk: Desk) -> None:
    report = verify_ledger(desk.parts.url, at=machine_clock())
    assert report.clean, report.differences


class TestPolar:
    def test_orders_that_were_never_delivered_are_granted(
        self, desk: Desk, polar: Polar, polar_lists: PolarLists
    ) -> None:
        polar.disputes.clear()
        polar.refunds.clear()
        polar.orders[1].update(refunded_amount=0, status="paid")
        bring(desk, polar_lists)
        assert desk.available(DUNLIN) == 1200
        assert_proved(desk)

    def test_a_refund_and_a_lost_chargeback_remove_credits(
        self, desk: Desk, polar: Polar, polar_lists: PolarLists
    ) -> None:
        tally = bring(desk, polar_lists)
        # Of two packs, one was taken back whole, and a third of the other was refunded.
        assert desk.available(DUNLIN) == 600 - 200
        assert new(tally) == {"orders": 2, "refunds": 1, "disputes": 1, "subscriptions": 1}
        assert_proved(desk)

    def test_a_chargeback_that_is_lost_while_we_look_away(
        self, desk: Desk, polar: Polar, polar_lists: PolarLists
    ) -> None:
        polar.refunds.clear()
        del polar.orders[1]
        polar.disputes[0].update(status="early_warning", modified_at="2026-08-18T06:02:51Z")
        bring(desk, polar_lists)
        assert desk.available(DUNLIN) == 600
        polar.disputes[0].update(status="lost", modified_at="2026-08-27T15:31:09Z")
        assert new(bring(desk, polar_lists)) == {"disputes": 1}
        assert desk.available(DUNLIN) == 0
        assert_proved(desk)

    def test_what_is_won_in_the_end_comes_back(
        self, desk: Desk, polar: Polar, polar_lists: PolarLists
    ) -> None:
        polar.refunds.clear()
        del polar.orders[1]
        polar.disputes[0].update(status="under_review", modified_at="2026-08-20T00:00:00Z")
        bring(desk, polar_lists)
        assert desk.available(DUNLIN) == 0
        polar.disputes[0].update(status="won", modified_at="2026-08-27T15:31:09Z")
        bring(desk, polar_lists)
        assert desk.available(DUNLIN) == 600

    def test_a_status_that_nobody_knows_yet_is_parked_and_the_rest_is_booked(
        self, desk: Desk, polar: Polar, polar_lists: PolarLists
    ) -> None:
        polar.disputes[0]["status"] = "in_arbitration"
        bring(desk, polar_lists)
        assert desk.available(DUNLIN) == 600 + 400
        [parked] = [row for row in desk.rows() if row["status"] == "parked"]
        assert (parked["type"], parked["reason"]) == ("dispute.updated", "unknown_value")
        assert "status is 'in_arbitration'" in parked["detail"]

    def test_a_purchase_that_a_webhook_told_is_granted_once(
        self, desk: Desk, polar: Polar, polar_lists: PolarLists
    ) -> None:
        desk.tell("polar.order.paid.purchase")
        polar.orders[:] = [deepcopy(_order_of("polar.order.paid.purchase"))]
        polar.refunds.clear()
        polar.disputes.clear()
        assert new(bring(desk, polar_lists))["orders"] == 1
        assert desk.available(TERN) == 600
        assert_proved(desk)


def _order_of(name: str) -> dict[str, object]:

    order: dict[str, object] = event(name)["data"]
    return order


class TestStripe:
    def test_what_was_never_delivered_is_booked(
        self, desk: Desk, stripe: Stripe, stripe_lists: StripeLists
    ) -> None:
        del stripe.lists["/v1/subscriptions"][:], stripe.lists["/v1/invoices"][:]
        del stripe.lists["/v1/invoice_payments"][:], stripe.lists["/v1/disputes"][:]
        tally = bring(desk, stripe_lists)
        refund, session = stripe.lists["/v1/refunds"][0], subject(SESSION)
        assert refund["payment_intent"] == session["payment_intent"]
        removed = 600 * refund["amount"] // session["amount_total"]
        assert desk.available(TERN) == 600 - removed
        assert new(tally) == {"prices": 1, "customers": 1, "checkout sessions": 1, "refunds": 1}
        assert_proved(desk)

    def test_a_refund_while_we_were_away_is_booked(
        self, desk: Desk, stripe: Stripe, stripe_lists: StripeLists
    ) -> None:
        desk.tell(body(SESSION))
        assert desk.available(TERN) == 600
        bring(desk, stripe_lists)
        assert 0 < desk.available(TERN) < 600

    def test_a_dispute_while_we_were_away_is_booked(
        self, desk: Desk, stripe: Stripe, stripe_lists: StripeLists
    ) -> None:
        del stripe.lists["/v1/refunds"][:]
        session = subject(SESSION)
        stripe.lists["/v1/disputes"][0].update(
            payment_intent=session["payment_intent"], amount=session["amount_total"]
        )
        bring(desk, stripe_lists)
        assert desk.available(TERN) == 0
        stripe.lists["/v1/disputes"][0]["status"] = "won"
        bring(desk, stripe_lists)
        assert desk.available(TERN) == 600

    def test_an_owner_who_is_noted_on_the_customer_alone_is_found(
        self, desk: Desk, stripe: Stripe, stripe_lists: StripeLists
    ) -> None:
        [customer] = stripe.customers.values()
        customer["metadata"] = {"ledger_account": TERN}
        session = stripe.lists["/v1/checkout/sessions"][0]
        session.update(client_reference_id=None)
        session["metadata"].pop("ledger_account")
        del stripe.lists["/v1/refunds"][:]
        bring(desk, stripe_lists)
        assert desk.available(TERN) == 600

    def test_what_a_price_is_worth_is_found_in_the_catalogue(
        self, database_url: str, stripe_lists: StripeLists
    ) -> None:
        with open_desk(database_url) as desk:
            desk.tell(body(SESSION))
            assert desk.statuses() == [("parked", "unknown_price")]
            bring(desk, stripe_lists)
            assert desk.available(TERN) > 0

    def test_an_object_of_the_other_mode_is_ignored(
        self, desk: Desk, stripe: Stripe, stripe_lists: StripeLists
    ) -> None:
        stripe.lists["/v1/checkout/sessions"][0]["livemode"] = True
        bring(desk, stripe_lists)
        rows = [row for row in desk.rows() if row["type"].startswith("checkout")]
        assert [(row["status"], row["reason"]) for row in rows] == [
            ("ignored", "wrong_environment")
        ]
        assert desk.available(TERN) == 0


class TestDeliveries:
    def test_twice_changes_nothing(
        self,
        desk: Desk,
        polar_lists: PolarLists,
        stripe_lists: StripeLists,
    ) -> None:
        for lists in (polar_lists, stripe_lists):
            assert new(bring(desk, lists))
        rows, head = desk.rows(), desk.parts.log.head()
        for lists in (polar_lists, stripe_lists):
            tally = bring(desk, lists)
            assert not new(tally)
            assert tally.read.total() > 0
        assert desk.rows() == rows
        assert desk.parts.log.head() == head

    def test_another_link_in_an_object_is_no_news(
        self, desk: Desk, stripe: Stripe, stripe_lists: StripeLists
    ) -> None:
        stripe.lists["/v1/invoices"][0]["hosted_invoice_url"] = "https://invoice.example/1"
        bring(desk, stripe_lists)
        stripe.lists["/v1/invoices"][0]["hosted_invoice_url"] = "https://invoice.example/2"
        assert not new(bring(desk, stripe_lists))

    def test_they_say_where_they_come_from(self, desk: Desk, polar_lists: PolarLists) -> None:
        bring(desk, polar_lists)
        for row in desk.rows():
            assert row["provider_delivery_id"].startswith(MARK)
            assert row["headers"]["user-agent"] == "creditledger reconcile"

    def test_a_dry_run_only_counts(self, desk: Desk, polar_lists: PolarLists) -> None:
        tally = bring(desk, polar_lists, dry_run=True)
        assert new(tally) == {"orders": 2, "refunds": 1, "disputes": 1, "subscriptions": 1}
        assert desk.rows() == []

    def test_an_object_that_is_too_large_is_named_and_the_others_go_on(
        self, desk: Desk, polar: Polar, polar_lists: PolarLists
    ) -> None:
        polar.orders[0]["metadata"]["notes"] = "x" * BODY_BYTES_MAX
        polar.disputes.clear()
        tally = bring(desk, polar_lists)
        [passed] = tally.passed
        assert passed.name == polar.orders[0]["id"]
        assert desk.available(DUNLIN) == 400

    def test_it_is_told_how_each_stands(
        self, desk: Desk, polar: Polar, polar_lists: PolarLists
    ) -> None:
        polar.disputes[0]["status"] = "in_arbitration"
        tally = Tally()
        reconcile(
            polar_lists,
            Window(SINCE, UNTIL),
            stream=desk.stream,
            pool=desk.parts.pool,
            now=machine_clock,
            tally=tally,
        )
        assert standing(desk.parts.pool, tally)["orders"] == Counter(received=2)
        desk.work_off()
        stands = standing(desk.parts.pool, tally)
        assert stands["orders"] == Counter(done=2)
        assert stands["disputes"] == Counter(parked=1)


class TestStatesThatComeBack:
    """A subscription may come back to a state in which it was before, as no other object does."""

    def brought(self, desk: Desk, lists: StripeLists) -> int:
        return len(bring(desk, lists).brought.get("subscriptions", []))

    def test_a_state_is_told_again_after_another_that_was_read(
        self, desk: Desk, stripe: Stripe, stripe_lists: StripeLists
    ) -> None:
        [subscription] = stripe.lists["/v1/subscriptions"]
        assert self.brought(desk, stripe_lists) == 1
        subscription["cancel_at_period_end"] = True
        assert self.brought(desk, stripe_lists) == 1
        subscription["cancel_at_period_end"] = False
        assert self.brought(desk, stripe_lists) == 1
        assert self.brought(desk, stripe_lists) == 0

    def test_a_state_is_told_again_after_another_that_a_webhook_told(
        self, desk: Desk, stripe_lists: StripeLists
    ) -> None:
        assert self.brought(desk, stripe_lists) == 1
        envelope = {"id": "evt_canceled", "type": "customer.subscription.updated"}
        desk.tell(changed(SUBSCRIPTION, envelope, cancel_at_period_end=True))
        assert self.brought(desk, stripe_lists) == 1
        assert self.brought(desk, stripe_lists) == 0

    def test_two_subscriptions_of_one_customer_do_not_tell_each_other_again(
        self, desk: Desk, stripe: Stripe, stripe_lists: StripeLists
    ) -> None:
        [subscription] = stripe.lists["/v1/subscriptions"]
        stripe.lists["/v1/subscriptions"].append({**subscription, "id": "sub_other"})
        assert self.brought(desk, stripe_lists) == 2
        assert self.brought(desk, stripe_lists) == 0
