"""Polar's lists, from a server on this machine that answers as Polar does."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from threading import Event, Thread
from time import monotonic

import pytest
from polar.v2026_10.client import SERVERS

from creditledger.infra import polar_lists, provider_lists
from creditledger.infra.polar_lists import PolarLists
from creditledger.infra.provider_lists import (
    Listed,
    Passed,
    Patience,
    ProviderAway,
    ProviderRefused,
    Stopped,
    Window,
)
from loopback import Answer
from polar_server import TOKEN, Polar, recorded_calls

AUGUST = Window(datetime(2026, 8, 10, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC))
NOW = datetime(2026, 9, 2, tzinfo=UTC)


@pytest.fixture
def lists(polar: Polar) -> Iterator[PolarLists]:
    found = reading(polar)
    yield found
    found.close()


def reading(polar: Polar, token: str = TOKEN, patience: Patience | None = None) -> PolarLists:
    return PolarLists(
        token,
        "sandbox",
        patience=patience or Patience(wait_seconds_first=0.001),
        now=lambda: NOW,
        address=polar.url,
    )


def read(lists: PolarLists, window: Window = AUGUST) -> list[Listed]:
    """What is listed, where all of it can be read."""
    found = list(lists.read(window))
    assert not [passed for passed in found if isinstance(passed, Passed)]
    return [listed for listed in found if isinstance(listed, Listed)]


def passed(lists: PolarLists) -> list[Passed]:
    return [found for found in lists.read(AUGUST) if isinstance(found, Passed)]


def told(found: list[Listed]) -> list[tuple[str, str]]:
    return [(listed.type, str(listed.object["id"])) for listed in found]


class TestWhatIsRead:
    def test_the_calls_are_the_recorded_ones_and_answers_are_kept_as_they_came(
        self, polar: Polar, lists: PolarLists
    ) -> None:
        found = read(lists)
        calls = recorded_calls()
        assert [asked.target for asked in polar.asked] == [call["path"] for call in calls]
        for asked, call in zip(polar.asked, calls, strict=True):
            assert asked.headers["polar-version"] == call["headers"]["Polar-Version"]
        answered = [item for call in calls for item in call["response"]["body"]["items"]]
        assert [listed.object for listed in found] == answered
        assert [listed.type for listed in found] == [
            *["order.updated"] * 2,
            *("refund.updated", "dispute.updated", "subscription.updated"),
        ]

    def test_it_becomes_the_event_that_polar_would_have_sent(self, lists: PolarLists) -> None:
        first = read(lists)[0]
        assert lists.envelope(first, "reconcile:x") == {
            "type": "order.updated",
            "timestamp": NOW.isoformat(),
            "api_version": "2026-10",
            "data": first.object,
        }

    @pytest.mark.parametrize("items", [0, 1, 2, 3, 7])
    def test_all_pages_are_read(self, polar: Polar, lists: PolarLists, items: int) -> None:
        polar.page_size = 2
        polar.refunds.clear()
        polar.disputes.clear()
        original = polar.orders[0]
        polar.orders[:] = [{**original, "id": f"order-{number}"} for number in range(items)]
        orders = [listed for listed in read(lists) if listed.kind == "orders"]
        named = [f"order-{number}" for number in range(items)]
        assert [listed.object["id"] for listed in orders[:items]] == named

    def test_an_enum_value_that_is_new_to_the_sdk_ends_nothing(
        self, polar: Polar, lists: PolarLists
    ) -> None:
        polar.orders[0]["billing_reason"] = "subscription_gifted"
        polar.disputes[0]["status"] = "in_arbitration"
        found = read(lists)
        assert len(found) == 5
        assert found[0].object["billing_reason"] == "subscription_gifted"

    def test_an_order_that_is_not_paid_is_left_out(self, polar: Polar, lists: PolarLists) -> None:
        polar.orders[0].update(paid=False, status="pending")
        assert [listed.kind for listed in read(lists)].count("orders") == 1

    def test_an_old_order_is_read_where_it_changed_since(
        self, polar: Polar, lists: PolarLists
    ) -> None:
        later = Window(datetime(2026, 8, 15, tzinfo=UTC), AUGUST.until)
        polar.refunds.clear()
        polar.disputes.clear()
        partly_refunded = polar.orders[1]
        assert told(read(lists, later))[0] == ("order.updated", partly_refunded["id"])

    def test_the_order_of_a_refund_or_dispute_is_read_however_old_it_is(
        self, polar: Polar, lists: PolarLists
    ) -> None:
        polar.old_orders = [
            {**order, "created_at": "2024-01-01T00:00:00Z", "modified_at": None}
            for order in polar.orders
        ]
        polar.orders.clear()
        orders = [listed.object["id"] for listed in read(lists) if listed.kind == "orders"]
        named = [polar.refunds[0]["order_id"], polar.disputes[0]["order_id"]]
        assert orders == named

    def test_what_did_not_change_in_the_window_is_left_out(self, lists: PolarLists) -> None:
        assert read(lists, Window(datetime(2026, 9, 1, tzinfo=UTC), NOW)) == []

    def test_a_dispute_that_was_settled_after_months_is_read(
        self, polar: Polar, lists: PolarLists
    ) -> None:
        polar.disputes[0]["created_at"] = "2026-03-20T10:00:00Z"
        assert "disputes" in [listed.kind for listed in read(lists)]

    def test_the_environment_is_the_address(self) -> None:
        assert SERVERS["sandbox"] != SERVERS["production"]
        for environment in ("sandbox", "production"):
            lists = PolarLists(TOKEN, environment, patience=Patience(), now=lambda: NOW)
            request = lists._client.build_request("GET", "/v1/orders/")
            assert str(request.url) == f"{SERVERS[environment]}/v1/orders/"
            lists.close()


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        "fields",
        [
            {"id": None},
            {"id": "a b"},
            {"id": "x" * 151},
            {"created_at": 5},
            {"modified_at": "then"},
        ],
    )
    def test_an_object_that_cannot_be_read_is_named_and_the_others_go_on(
        self, polar: Polar, lists: PolarLists, fields: dict[str, object]
    ) -> None:
        polar.disputes.clear()
        polar.refunds.insert(0, {**deepcopy(polar.refunds[0]), **fields})
        found = list(lists.read(AUGUST))
        [one] = [each for each in found if isinstance(each, Passed)]
        assert (one.kind, one.whole_list) == ("refunds", False)
        assert len(found) == 5

    def test_an_order_that_is_gone_is_named(self, polar: Polar, lists: PolarLists) -> None:
        polar.refunds[0]["order_id"] = "order-gone"
        [one] = passed(lists)
        assert (one.kind, one.name, one.whole_list) == ("orders", "order-gone", False)

    def test_a_list_that_the_token_may_not_read_is_named_and_the_others_go_on(
        self, polar: Polar, lists: PolarLists
    ) -> None:
        polar.forbidden.add("/v1/disputes/")
        [one] = passed(lists)
        assert (one.kind, one.whole_list) == ("disputes", True)
        assert "403" in one.detail
        assert "/v1/disputes/" in one.detail

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(body="no JSON"),
            Answer(body=[]),
            Answer(body={"items": [], "pagination": None}),
            Answer(404, {"error": "ResourceNotFound", "detail": "Not found"}),
            Answer(422, {"detail": [{"loc": ["query", "page"], "msg": "bad", "type": "x"}]}),
            Answer(301, "", {"Location": "https://polar.example/"}),
        ],
        ids=["text", "array", "no pages", "404", "422", "redirect"],
    )
    def test_an_answer_that_is_no_list_is_named(
        self, polar: Polar, lists: PolarLists, answer: Answer
    ) -> None:
        polar.faults.append(answer)
        [one] = passed(lists)
        assert (one.kind, one.whole_list) == ("orders", True)

    def test_a_token_that_is_not_accepted_ends_the_run_at_once(self, polar: Polar) -> None:
        lists = reading(polar, "polar_oat_other")
        with pytest.raises(ProviderRefused, match="POLAR_ACCESS_TOKEN"):
            list(lists.read(AUGUST))
        assert len(polar.asked) == 1
        lists.close()


class TestPatience:
    @pytest.mark.parametrize("status", [429, 500, 502, 503])
    def test_what_may_answer_later_is_asked_again(
        self, polar: Polar, lists: PolarLists, status: int
    ) -> None:
        polar.faults.extend([Answer(status, "busy")] * (provider_lists.TRIES_MAX - 1))
        assert len(read(lists)) == 5

    def test_it_waits_as_long_as_it_is_asked_to(self, polar: Polar, lists: PolarLists) -> None:
        polar.faults.append(Answer(429, "", {"Retry-After": "1"}))
        began = monotonic()
        assert len(read(lists)) == 5
        assert monotonic() - began >= 1

    @pytest.mark.parametrize("said", ["3600", str(int(provider_lists.WAIT_SECONDS_MAX) + 1)])
    def test_a_wait_that_is_too_long_ends_the_run(
        self, polar: Polar, lists: PolarLists, said: str
    ) -> None:
        polar.faults.append(Answer(429, "", {"Retry-After": said}))
        with pytest.raises(ProviderAway, match=f"wait {said} s"):
            list(lists.read(AUGUST))
        assert len(polar.asked) == 1

    def test_a_retry_after_that_is_a_date_is_no_fault(
        self, polar: Polar, lists: PolarLists
    ) -> None:
        polar.faults.append(Answer(429, "", {"Retry-After": "Sat, 21 Nov 2026 07:28:00 GMT"}))
        assert len(read(lists)) == 5

    def test_it_gives_up_after_so_many_tries(self, polar: Polar, lists: PolarLists) -> None:
        polar.faults.extend([Answer(503, "")] * provider_lists.TRIES_MAX)
        with pytest.raises(ProviderAway, match=f"503.*{provider_lists.TRIES_MAX} tries"):
            list(lists.read(AUGUST))

    def test_an_answer_that_does_not_come_is_asked_for_again(
        self, polar: Polar, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(polar_lists, "_TIMEOUT_SECONDS", 0.2)
        lists = reading(polar)
        polar.faults.append(Answer(hangs=True))
        assert len(read(lists)) == 5
        lists.close()

    def test_a_network_that_is_away_ends_the_run(self, lists: PolarLists, polar: Polar) -> None:
        nowhere = PolarLists(
            TOKEN,
            "sandbox",
            patience=Patience(wait_seconds_first=0.001),
            now=lambda: NOW,
            address="http://127.0.0.1:1",
        )
        with pytest.raises(ProviderAway, match="cannot be reached"):
            list(nowhere.read(AUGUST))
        nowhere.close()

    def test_it_stops_in_the_middle_of_a_wait(self, polar: Polar) -> None:
        stop = Event()
        lists = reading(polar, patience=Patience(stop))
        polar.faults.append(Answer(429, "", {"Retry-After": "50"}))
        caught: list[BaseException] = []

        def run() -> None:
            try:
                list(lists.read(AUGUST))
            except Stopped as stopped:
                caught.append(stopped)

        thread = Thread(target=run)
        thread.start()
        while not polar.asked:
            assert thread.is_alive()
        stop.set()
        thread.join(5)
        assert len(caught) == 1
        lists.close()
