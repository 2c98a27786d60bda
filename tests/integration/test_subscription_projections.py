"""What the read models say of subscriptions, of the payments for them, and of the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.commands import Command, ReinstateGrant, RevokeGrant
from creditledger.domain.errors import Invalid
from creditledger.domain.provider_commands import SetPrice, SubscriptionState
from creditledger.domain.subscription import newness
from creditledger.projections.payments import payments
from creditledger.projections.prices import prices, products
from creditledger.projections.subscriptions import sort_key, subscription, subscriptions
from plan_story import (
    BEGIN,
    END,
    MONTH,
    NEXT_MONTH,
    PlanStory,
    begun,
    bill,
    change,
    dispute,
    refunded,
    returned,
    tied,
    whole,
)
from purchase_story import CUSTOMER, PACK_IS_500, purchase
from story_reader import Reader
from subscription_story import life, price, product, report

KESTREL = ids.stream_id(ids.SUBSCRIPTION, ids.subscription_stream("stripe", "sub_Kestrel"))

STARTER = bill("in_1", 0, whole("starter"))
UPGRADE = change("in_2", 3, "starter", "pro")

#: What tells when and where something was recorded, so differs with the order of the news.
_OF_THE_RECORD = ("position", "recorded_at")


@pytest.fixture(params=[1, 4, 1000])
def reader(request: pytest.FixtureRequest, database_url: str) -> Reader:
    return Reader(database_url, request.param)


@pytest.fixture
def whole_reader(database_url: str) -> Reader:
    """One that handles all events at once."""
    return Reader(database_url, 1000)


def told(reader: Reader, *news: Command) -> PlanStory:
    story = PlanStory(*news)
    assert story.parked == []
    reader.show(story)
    return story


def the_subscription(reader: Reader) -> dict[str, Any]:
    found = reader.ask(lambda c: subscription(c, KESTREL))
    assert found is not None
    return found


# Subscriptions.


def test_a_subscription_stands_as_its_newest_report_says(reader: Reader) -> None:
    state: dict[str, Any] = {
        "quantity": 3,
        "cancel_at_period_end": True,
        "trial_ends_at": BEGIN,
        "ends_at": END,
        "ended": True,
        "ended_at": END,
        "pending_product_id": "prod_Plans",
    }
    told(reader, report("trialing", 0), report("canceled", 5, plan="pro", **state))
    first = {
        "as_of": "2026-08-20T09:00:00.000000Z",
        "status": "trialing",
        "price_id": "starter",
        "quantity": 1,
        "cancel_at_period_end": False,
        "current_period_start": "2026-08-20T09:00:00.000000Z",
        "current_period_end": "2026-09-20T09:00:00.000000Z",
        "started_at": "2026-08-20T09:00:00.000000Z",
        "trial_ends_at": None,
        "ends_at": None,
        "ended": False,
        "ended_at": None,
        "pending_product_id": None,
    }
    last = {
        **first,
        "as_of": "2026-08-25T09:00:00.000000Z",
        "status": "canceled",
        "price_id": "pro",
        "quantity": 3,
        "cancel_at_period_end": True,
        "trial_ends_at": "2026-08-20T09:00:00.000000Z",
        "ends_at": "2026-09-20T09:00:00.000000Z",
        "ended": True,
        "ended_at": "2026-09-20T09:00:00.000000Z",
        "pending_product_id": "prod_Plans",
    }
    recorded_at = "2026-09-04T09:00:00.000000Z"
    found = the_subscription(reader)
    first_at, last_at = (entry["position"] for entry in found["history"])
    assert found == {
        **last,
        "subscription_id": KESTREL,
        "provider": "stripe",
        "provider_id": "sub_Kestrel",
        "provider_customer_id": "cus_sub_Kestrel",
        "customer_id": CUSTOMER,
        "position": first_at,
        "recorded_at": recorded_at,
        "history": [
            {**first, "position": first_at, "recorded_at": recorded_at},
            {**last, "position": last_at, "recorded_at": recorded_at},
        ],
    }


def test_reports_that_come_late_are_history_alone(reader: Reader) -> None:
    """Also of two reports of one second, whichever comes first."""
    late = (
        report("active", 9),
        report("canceled", 9, ended=True, ended_at=END),
        report("past_due", 9),
        report("incomplete", 0, current_period=None),
        report("active", 4),
    )
    told(reader, *late)
    found = the_subscription(reader)
    assert (found["status"], found["current_period_end"]) == (
        "canceled",
        "2026-09-20T09:00:00.000000Z",
    )
    assert [(entry["status"], entry["as_of"][8:10]) for entry in found["history"]] == [
        ("incomplete", "20"),
        ("active", "24"),
        ("active", "29"),
        ("past_due", "29"),
        ("canceled", "29"),
    ]
    assert found["history"][0]["current_period_start"] is None


def test_subscriptions_are_found_by_what_is_known_of_them(reader: Reader) -> None:
    told(
        reader,
        report("active", 0),
        report("active", 0, name="sub_2", customer_id="ws_other"),
        report("unpaid", 0, name="sub_3"),
        report("past_due", 3),
    )

    def found(**filters: Any) -> list[str]:
        page = reader.ask(lambda c: subscriptions(c, limit=50, **filters))
        return [row["provider_id"] for row in page["subscriptions"]]

    assert found() == ["sub_3", "sub_2", "sub_Kestrel"]
    assert found(customer_id=CUSTOMER) == ["sub_3", "sub_Kestrel"]
    assert found(status="past_due") == ["sub_Kestrel"]
    assert found(provider="stripe", provider_id="sub_2") == ["sub_2"]
    assert found(provider="polar") == []
    page = reader.ask(lambda c: subscriptions(c, limit=2))
    rest = reader.ask(lambda c: subscriptions(c, limit=2, cursor=page["next_cursor"]))
    assert [row["provider_id"] for row in rest["subscriptions"]] == ["sub_Kestrel"]
    assert rest["next_cursor"] is None
    with pytest.raises(Invalid):
        reader.ask(lambda c: subscriptions(c, limit=2, status="x", cursor=page["next_cursor"]))


def test_an_unknown_subscription_is_none(whole_reader: Reader) -> None:
    for subscription_id in (KESTREL, "sub_Kestrel", "sub_"):
        assert whole_reader.ask(lambda c, i=subscription_id: subscription(c, i)) is None  # type: ignore[misc]


def _states() -> Iterator[tuple[datetime, SubscriptionState]]:
    for day in (0, 9):
        for status in ("incomplete", "active", "a word that is new", "canceled"):
            for period in (None, MONTH, NEXT_MONTH):
                for quantity in (1, 2, 10):
                    for ended in (False, True):
                        yield (
                            BEGIN + timedelta(days=day),
                            SubscriptionState(
                                status=status,
                                price_id="é" if quantity == 2 else "z",
                                quantity=quantity,
                                cancel_at_period_end=day == 9,
                                current_period=period,
                                ended=ended,
                                ended_at=END if ended else None,
                            ),
                        )


def test_sort_keys_have_the_order_of_newness() -> None:
    orders = [newness(as_of, state) for as_of, state in _states()]
    by_key = sorted(orders, key=lambda order: sort_key(order).encode())
    assert by_key == sorted(orders)
    assert len({sort_key(order) for order in orders}) == len(orders)


# Payments for subscriptions.


def test_a_payment_for_a_period_says_so(reader: Reader) -> None:
    told(reader, STARTER, UPGRADE)
    upgrade, starter = reader.payments()
    assert starter["subscription_id"] == upgrade["subscription_id"] == KESTREL
    assert starter["lines"] == [
        {
            "price_id": "starter",
            "quantity": 1,
            "asset": "credits",
            "credits": 1000,
            "period": {
                "start": "2026-08-20T09:00:00.000000Z",
                "end": "2026-09-20T09:00:00.000000Z",
            },
            "proration": False,
        }
    ]
    assert [
        (line["price_id"], line["credits"], line["proration"]) for line in upgrade["lines"]
    ] == [
        ("starter", -1000, True),
        ("pro", 5000, True),
    ]
    assert (starter["granted"], upgrade["granted"]) == (1000, 4000)
    assert reader.payments(subscription_id=KESTREL) == [upgrade, starter]
    assert reader.payments(subscription_id="sub_Kestrel") == []


def test_what_went_to_an_earlier_payment_is_not_counted(reader: Reader) -> None:
    """The upgrade is told before the plan that it replaces, and gives a part of its own back."""
    told(reader, tied("pi_2", "in_2"), UPGRADE, refunded("pi_2", 500), STARTER)
    starter, upgrade = reader.payments()
    assert (starter["granted"], starter["revoked"]) == (1000, 0)
    assert (upgrade["granted"], upgrade["revoked"]) == (4000, 2000)
    assert sum(grant["granted"] for grant in upgrade["grants"]) == 4000
    assert sum(grant["revoked"] for grant in upgrade["grants"]) == 2000


def test_what_is_tied_to_a_payment_is_none_of_its_own(reader: Reader) -> None:
    told(reader, tied("pi_1", "in_1"), STARTER)
    assert [row["provider_id"] for row in reader.payments()] == ["in_1"]


def test_what_was_tied_first_and_then_bought_by_itself_is_a_payment(reader: Reader) -> None:
    told(reader, tied("pi_1", "in_1"), PACK_IS_500, purchase(provider_id="pi_1"))
    found = reader.the_payment()
    assert (found["provider_id"], found["status"], found["granted"]) == ("pi_1", "paid", 1000)


def test_what_was_revoked_by_hand_counts_towards_what_is_withdrawn(reader: Reader) -> None:
    """700 of one grant were revoked by hand, so only 3300 were taken of the one that was given
    away; in all the payment has what is its own.
    """
    story = PlanStory(
        bill("in_2", 3, returned("starter", 3), begun("pro", 3), whole("starter", NEXT_MONTH)),
    )
    away, kept = story.payments()["in_2"].grants
    story.tell(RevokeGrant(grant_id=kept.grant_id, amount=Credits(700)))
    story.hear([bill("in_1", 0, whole("team"))])
    reader.show(story)
    [found] = reader.payments(provider_id="in_2")
    assert (found["granted"], found["revoked"]) == (1000, 0)
    expected = [(away.grant_id, 0, 0, 4000), (kept.grant_id, 1000, 0, 0)]
    assert [tuple(grant.values()) for grant in _without_assets(found)] == expected
    story.tell(ReinstateGrant(grant_id=kept.grant_id, amount=Credits(700)))
    reader.show(story)
    [found] = reader.payments(provider_id="in_2")
    assert [tuple(grant.values()) for grant in _without_assets(found)] == expected


def _without_assets(payment: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: grant[name] for name in ("grant_id", "granted", "revoked", "withdrawn")}
        for grant in payment["grants"]
    ]


@pytest.mark.parametrize(
    ("news", "status", "disputed", "revoked"),
    [
        ([dispute("in_1", "inquiry")], "paid", 0, 0),
        ([dispute("in_1", "open")], "disputed", 1000, 1000),
        ([dispute("in_1", "won", 11), dispute("in_1", "open")], "paid", 0, 0),
        ([dispute("in_1", "lost", 11)], "charged_back", 1000, 1000),
        ([dispute("in_1", "prevented", 11)], "paid", 0, 0),
    ],
)
def test_disputes_show(
    whole_reader: Reader, news: list[Command], status: str, disputed: int, revoked: int
) -> None:
    told(whole_reader, STARTER, *news)
    found = whole_reader.the_payment()
    assert (found["status"], found["disputed"], found["revoked"]) == (status, disputed, revoked)
    assert whole_reader.payments(status=status) == [found]


def test_each_dispute_is_told_as_it_last_was(reader: Reader) -> None:
    told(
        reader,
        STARTER,
        dispute("in_1", "open", 9, dispute_id="dp_2", status="needs_response"),
        dispute("in_1", "inquiry", 8, dispute_id="dp_1", status="warning_under_review"),
        dispute("in_1", "open", 10, dispute_id="dp_2", status="under_review"),
    )
    common = {"amount": 1000, "currency": "USD"}
    assert reader.the_payment()["disputes"] == [
        {
            **common,
            "dispute_id": "dp_1",
            "standing": "inquiry",
            "status": "warning_under_review",
            "as_of": "2026-08-28T09:00:00.000000Z",
        },
        {
            **common,
            "dispute_id": "dp_2",
            "standing": "open",
            "status": "under_review",
            "as_of": "2026-08-30T09:00:00.000000Z",
        },
    ]


# The catalogue.


def test_a_price_that_nobody_knows_the_worth_of_is_listed(reader: Reader) -> None:
    told(reader, price("price_new", None, 1), price("starter", 9, 1, active=False))
    page = reader.ask(lambda c: prices(c, limit=50, product_id="prod_Plans"))
    starter, new = page["prices"]
    assert {name: new[name] for name in ("credits", "asset", "kind", "origin", "name")} == {
        "credits": None,
        "asset": None,
        "kind": None,
        "origin": None,
        "name": None,
    }
    assert (new["price_id"], new["product_id"], new["active"]) == ("price_new", "prod_Plans", True)
    entered = (starter["credits"], starter["origin"], starter["active"])
    assert entered == (1000, "entered", False)


def test_the_newest_word_of_the_catalogue_stands_until_somebody_enters_another(
    reader: Reader,
) -> None:
    def worth() -> Any:
        page = reader.ask(lambda c: prices(c, limit=50))
        [row] = [row for row in page["prices"] if row["price_id"] == "price_new"]
        assert row["internal_id"] == ("plan-new" if row["version"] == "1" else None)
        return (row["credits"], row["origin"], row["version"], row["product_id"])

    story = told(reader, price("price_new", 100, 1, version="1", internal_id="plan-new"))
    assert worth() == (100, "learned", "1", "prod_Plans")
    for news, expected in (
        (price("price_new", 200, 3, version="2"), (200, "learned", "2", "prod_Plans")),
        (price("price_new", 300, 2, version="1"), (200, "learned", "2", "prod_Plans")),
        (price("price_new", None, 4), (None, None, None, "prod_Plans")),
        (
            SetPrice(provider="stripe", price_id="price_new", credits=Credits(5), version=3),
            (5, "entered", 3, "prod_Plans"),
        ),
        (price("price_new", 400, 5), (5, "entered", 3, "prod_Plans")),
    ):
        story.tell(news)
        reader.show(story)
        assert worth() == expected


def test_products_are_listed_as_they_were_last_told(reader: Reader) -> None:
    told(
        reader,
        product("Plans", 0),
        product("Packs", 1, product_id="prod_Packs"),
        product("Our plans", 2, active=False),
    )
    page = reader.ask(lambda c: products(c, limit=1))
    [row] = page["products"]
    assert row == {
        "provider": "stripe",
        "product_id": "prod_Plans",
        "name": "Our plans",
        "active": False,
        "plan_family": "plans",
        "version": "2",
        "as_of": "2026-08-22T09:00:00.000000Z",
        "position": row["position"],
        "recorded_at": "2026-09-04T09:00:00.000000Z",
    }
    rest = reader.ask(lambda c: products(c, limit=1, cursor=page["next_cursor"]))
    assert [row["product_id"] for row in rest["products"]] == ["prod_Packs"]
    one = reader.ask(lambda c: products(c, limit=9, provider="stripe", product_id="prod_Packs"))
    assert [row["name"] for row in one["products"]] == ["Packs"]
    assert reader.ask(lambda c: products(c, limit=9, provider="polar"))["products"] == []


# Any order.


def _everything(reader: Reader) -> dict[str, Any]:
    """All that is read, without when and where it was recorded and which grants there are."""
    listings = {
        "payments": reader.ask(lambda c: payments(c, limit=50)),
        "subscriptions": reader.ask(lambda c: subscriptions(c, limit=50)),
        "prices": reader.ask(lambda c: prices(c, limit=50)),
        "products": reader.ask(lambda c: products(c, limit=50)),
    }
    return {
        name: sorted((_timeless(row) for row in page[name]), key=repr)
        for name, page in listings.items()
    }


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in _OF_THE_RECORD}
    if "history" in row:
        kept["history"] = [_timeless(entry) for entry in row["history"]]
    if "grants" in row:
        sums = Counter[str]()
        for grant in row["grants"]:
            sums[f"{grant['asset']} granted"] += grant["granted"]
            sums[f"{grant['asset']} revoked"] += grant["revoked"]
        kept["grants"] = dict(+sums)
    return kept


def test_a_life_reads_the_same_in_every_order_of_its_news(whole_reader: Reader) -> None:
    news = [*life(), *life("Heron", "ws_heron")]
    told(whole_reader, *news)
    natural = _everything(whole_reader)
    assert {row["status"] for row in natural["subscriptions"]} == {"canceled"}
    assert sorted({row["status"] for row in natural["payments"]}) == [
        "charged_back",
        "paid",
        "partially_refunded",
    ]
    random = Random(11)
    for _ in range(12):
        random.shuffle(news)
        told(whole_reader, *news, *random.sample(news, 5))
        assert _everything(whole_reader) == natural
