"""Stripe's lists, from a server on this machine that answers as Stripe does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from creditledger.infra import provider_lists
from creditledger.infra.provider_lists import (
    Listed,
    Passed,
    Patience,
    ProviderAway,
    ProviderRefused,
    Window,
)
from creditledger.infra.stripe_lists import StripeLists
from loopback import Answer
from stripe_server import API_KEY, INTENT, INVOICE, SESSION, Stripe, subject

AUGUST = Window(datetime(2026, 8, 10, tzinfo=UTC), datetime(2026, 9, 10, tzinfo=UTC))
NOW = datetime(2026, 9, 12, 8, tzinfo=UTC)


@pytest.fixture
def lists(stripe: Stripe) -> Iterator[StripeLists]:
    found = reading(stripe)
    yield found
    found.close()


def reading(stripe: Stripe, api_key: str = API_KEY, *, address: str | None = None) -> StripeLists:
    return StripeLists(
        api_key,
        livemode=False,
        patience=Patience(wait_seconds_first=0.001),
        now=lambda: NOW,
        address=address or stripe.url,
    )


def read(lists: StripeLists, window: Window = AUGUST) -> list[Listed]:
    """What is listed, where all of it can be read."""
    found = list(lists.read(window))
    assert not [passed for passed in found if isinstance(passed, Passed)]
    return [listed for listed in found if isinstance(listed, Listed)]


def passed(lists: StripeLists) -> list[Passed]:
    return [found for found in lists.read(AUGUST) if isinstance(found, Passed)]


def one(found: list[Listed], kind: str) -> Listed:
    [only] = [listed for listed in found if listed.kind == kind]
    return only


def seconds(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


class TestWhatIsRead:
    def test_each_object_is_told_by_the_newest_type_that_says_it(self, lists: StripeLists) -> None:
        assert [listed.type for listed in read(lists)] == [
            "price.updated",
            "customer.updated",
            "invoice.paid",
            "checkout.session.completed",
            "invoice_payment.paid",
            "refund.updated",
            "charge.dispute.updated",
            "customer.subscription.updated",
        ]

    def test_objects_are_as_in_events_with_ids_where_others_were_expanded(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        found = read(lists)
        session = {**subject(SESSION)}
        session.pop("client_secret", None)
        assert one(found, "checkout sessions").object == session
        assert one(found, "invoices").object == stripe.lists["/v1/invoices"][0]
        assert one(found, "subscriptions").object == stripe.lists["/v1/subscriptions"][0]

    def test_times_are_those_of_payment_or_of_the_reading(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        found = read(lists)
        session, invoice = subject(SESSION), subject(INVOICE)
        assert one(found, "checkout sessions").at == seconds(session["created"] + 60)
        assert one(found, "invoices").at == seconds(invoice["status_transitions"]["paid_at"])
        assert one(found, "refunds").at == seconds(stripe.lists["/v1/refunds"][0]["created"])
        assert one(found, "disputes").at == NOW
        assert one(found, "subscriptions").at == NOW

    def test_it_becomes_the_event_that_stripe_would_have_sent(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        dispute = one(read(lists), "disputes")
        assert lists.envelope(dispute, "reconcile:x") == {
            "id": "reconcile:x",
            "object": "event",
            "type": "charge.dispute.updated",
            "api_version": "2026-10-28.endive",
            "created": int(NOW.timestamp()),
            "livemode": False,
            "data": {"object": dispute.object},
        }
        assert stripe.asked[0].headers["stripe-version"] == "2026-10-28.endive"

    @pytest.mark.parametrize("livemode", [True, False])
    def test_the_object_says_whose_mode_it_is_of(
        self, stripe: Stripe, lists: StripeLists, livemode: bool
    ) -> None:
        stripe.lists["/v1/disputes"][0]["livemode"] = livemode
        assert lists.envelope(one(read(lists), "disputes"), "x")["livemode"] is livemode

    @pytest.mark.parametrize("items", [0, 1, 2, 3, 7])
    def test_all_pages_are_read(self, stripe: Stripe, lists: StripeLists, items: int) -> None:
        stripe.page_size = 2
        refund = stripe.lists["/v1/refunds"][0]
        stripe.lists["/v1/refunds"] = [{**refund, "id": f"re_{number}"} for number in range(items)]
        found = [listed.object["id"] for listed in read(lists) if listed.kind == "refunds"]
        assert found == [f"re_{number}" for number in range(items)]

    @pytest.mark.parametrize(
        ("path", "status", "event"),
        [
            ("/v1/disputes", "lost", "charge.dispute.closed"),
            ("/v1/disputes", "won", "charge.dispute.closed"),
            ("/v1/disputes", "under_review", "charge.dispute.updated"),
            ("/v1/disputes", "in_arbitration", "charge.dispute.updated"),
            ("/v1/refunds", "failed", "refund.failed"),
            ("/v1/refunds", "pending", "refund.updated"),
            ("/v1/subscriptions", "canceled", "customer.subscription.deleted"),
            ("/v1/subscriptions", "past_due", "customer.subscription.updated"),
        ],
    )
    def test_the_state_decides_the_type(
        self, stripe: Stripe, lists: StripeLists, path: str, status: str, event: str
    ) -> None:
        stripe.lists[path][0]["status"] = status
        assert event in [listed.type for listed in read(lists)]

    def test_a_payment_that_only_its_intent_tells_is_read(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        intent = subject(INTENT)
        others: list[dict[str, Any]] = [
            {**intent, "id": "pi_open", "status": "requires_action"},
            {**intent, "id": "pi_of_an_invoice", "metadata": {}},
        ]
        stripe.lists["/v1/payment_intents"] = [intent, *others]
        found = one(read(lists), "payment intents")
        assert (found.type, found.object["id"]) == ("payment_intent.succeeded", intent["id"])
        assert found.at == seconds(intent["created"] + 5)
        assert "client_secret" not in found.object

    def test_a_session_that_is_not_paid_is_left_out(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        stripe.lists["/v1/checkout/sessions"][0]["payment_status"] = "unpaid"
        assert "checkout sessions" not in [listed.kind for listed in read(lists)]

    def test_an_old_invoice_that_was_paid_in_the_window_is_read(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        invoice = stripe.lists["/v1/invoices"][0]
        invoice["created"] -= 60 * 86_400
        assert one(read(lists), "invoices").object["id"] == invoice["id"]

    def test_an_invoice_that_was_paid_before_the_window_is_left_out(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        moments = stripe.lists["/v1/invoices"][0]["status_transitions"]
        moments["paid_at"] = int(AUGUST.since.timestamp()) - 1
        assert "invoices" not in [listed.kind for listed in read(lists)]
        moments["paid_at"] += 1
        assert "invoices" in [listed.kind for listed in read(lists)]

    def test_a_subscription_that_ended_before_the_window_is_left_out(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        [subscription] = stripe.lists["/v1/subscriptions"]
        subscription["ended_at"] = int(AUGUST.since.timestamp()) - 1
        assert "subscriptions" not in [listed.kind for listed in read(lists)]

    def test_a_customer_of_whom_nothing_is_noted_is_left_out(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        [customer] = stripe.customers.values()
        customer["metadata"] = {}
        assert "customers" not in [listed.kind for listed in read(lists)]


class TestWhatCannotBeRead:
    @pytest.mark.parametrize("fields", [{"id": None}, {"id": "re x"}, {"id": "r" * 151}])
    def test_an_object_that_cannot_be_read_is_named_and_the_others_go_on(
        self, stripe: Stripe, lists: StripeLists, fields: dict[str, object]
    ) -> None:
        stripe.lists["/v1/refunds"].append({**stripe.lists["/v1/refunds"][0], **fields})
        found = list(lists.read(AUGUST))
        [unread] = [each for each in found if isinstance(each, Passed)]
        assert (unread.kind, unread.whole_list) == ("refunds", False)
        assert len(found) == 9

    @pytest.mark.parametrize("moments", [None, {}, {"paid_at": None}, {"paid_at": -1}, "then"])
    def test_an_invoice_that_does_not_say_when_it_was_paid_is_named(
        self, stripe: Stripe, lists: StripeLists, moments: object
    ) -> None:
        stripe.lists["/v1/invoices"][0]["status_transitions"] = moments
        [unread] = passed(lists)
        assert unread.name == stripe.lists["/v1/invoices"][0]["id"]

    def test_a_list_that_the_key_may_not_read_is_named_and_the_others_go_on(
        self, stripe: Stripe, lists: StripeLists
    ) -> None:
        stripe.forbidden.add("/v1/disputes")
        [unread] = passed(lists)
        assert (unread.kind, unread.whole_list) == ("disputes", True)
        assert "403" in unread.detail

    def test_a_refused_parameter_is_named(self, stripe: Stripe, lists: StripeLists) -> None:
        stripe.faults.append(Answer(400, {"error": {"message": "Received unknown parameter"}}))
        [unread] = passed(lists)
        assert (unread.kind, unread.whole_list) == ("products", True)
        assert "unknown parameter" in unread.detail

    def test_a_key_that_is_not_accepted_ends_the_run_at_once(self, stripe: Stripe) -> None:
        lists = reading(stripe, "sk_test_other")
        with pytest.raises(ProviderRefused, match="STRIPE_API_KEY"):
            list(lists.read(AUGUST))
        assert len(stripe.asked) == 1
        lists.close()


class TestPatience:
    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_what_may_answer_later_is_asked_again(
        self, stripe: Stripe, lists: StripeLists, status: int
    ) -> None:
        fault = Answer(status, {"error": {"message": "busy"}})
        stripe.faults.extend([fault] * (provider_lists.TRIES_MAX - 1))
        assert len(read(lists)) == 8

    def test_it_gives_up_after_so_many_tries(self, stripe: Stripe, lists: StripeLists) -> None:
        fault = Answer(429, {"error": {"message": "busy"}})
        stripe.faults.extend([fault] * provider_lists.TRIES_MAX)
        with pytest.raises(ProviderAway, match=f"429.*{provider_lists.TRIES_MAX} tries"):
            list(lists.read(AUGUST))
        assert len(stripe.asked) == provider_lists.TRIES_MAX

    def test_a_network_that_is_away_ends_the_run(self, stripe: Stripe) -> None:
        lists = reading(stripe, address="http://127.0.0.1:1")
        with pytest.raises(ProviderAway, match="cannot be reached"):
            list(lists.read(AUGUST))
        lists.close()
