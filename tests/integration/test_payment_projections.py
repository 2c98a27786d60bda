"""What the read models say of payments, prices and links, however the events come in batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.commands import Command, ReinstateGrant, RevokeGrant
from creditledger.domain.errors import Invalid
from creditledger.domain.provider_commands import (
    AssignPurchase,
    CloseLink,
    LinkCustomer,
    PurchaseLine,
    SetPrice,
)
from creditledger.projections.links import links
from creditledger.projections.payments import payment, payments
from creditledger.projections.prices import prices
from purchase_story import (
    CUSTOMER,
    PACK,
    PACK_IS_500,
    PAID_AT,
    PAYMENT,
    STRIPE_CUSTOMER,
    TWO_PACKS,
    Story,
    order,
    purchase,
    refund,
    refunded_in_all,
)
from story_reader import Reader

TOKENS = SetPrice(provider="stripe", price_id="price_tok", credits=Credits(7), asset="tokens")


@pytest.fixture(params=[1, 3, 1000])
def reader(request: pytest.FixtureRequest, database_url: str) -> Reader:
    return Reader(database_url, request.param)


def told(reader: Reader, *commands: Command) -> Story:
    story = Story(*commands)
    reader.show(story)
    return story


def test_a_payment_says_what_came_and_what_it_granted(reader: Reader) -> None:
    story = told(reader, PACK_IS_500, purchase())
    found = reader.the_payment()
    grant_id = story.tell(purchase())["grants"][0]["grant_id"]
    assert found == {
        "payment_id": ids.stream_id(ids.PAYMENT, ids.payment_stream("stripe", PAYMENT)),
        "position": 2,
        "provider": "stripe",
        "provider_id": PAYMENT,
        "provider_customer_id": STRIPE_CUSTOMER,
        "customer_id": CUSTOMER,
        "status": "paid",
        "paid": 1800,
        "currency": "USD",
        "subscription_id": None,
        "refunded": 0,
        "refunds": [],
        "disputed": 0,
        "disputes": [],
        "granted": 1000,
        "revoked": 0,
        "grants": [
            {
                "grant_id": grant_id,
                "asset": "credits",
                "granted": 1000,
                "revoked": 0,
                "withdrawn": 0,
            }
        ],
        "lines": [
            {
                "price_id": PACK,
                "quantity": 2,
                "asset": "credits",
                "credits": 1000,
                "period": None,
                "proration": False,
            }
        ],
        "paid_at": "2026-08-10T09:21:33.000000Z",
        "recorded_at": "2026-09-01T12:00:00.000000Z",
    }


def test_refunds_and_revocations_by_hand_show(reader: Reader) -> None:
    story = Story(PACK_IS_500, purchase())
    grant_id = story.tell(purchase())["grants"][0]["grant_id"]
    story.tell(RevokeGrant(grant_id=grant_id, amount=Credits(100)))
    story.tell_all([refund("re_1", 450, "pending"), refund("re_1", 450), refund("re_2", 90)])
    story.tell(ReinstateGrant(grant_id=grant_id, amount=Credits(7)))
    reader.show(story)
    found = reader.the_payment()
    assert (found["status"], found["refunded"]) == ("partially_refunded", 540)
    assert (found["granted"], found["revoked"]) == (1000, 293)
    assert found["refunds"] == [
        {"refund_id": "re_1", "amount": 450, "currency": "USD", "status": "succeeded"},
        {"refund_id": "re_2", "amount": 90, "currency": "USD", "status": "succeeded"},
    ]


def test_a_refund_that_failed_leaves_the_payment_paid(reader: Reader) -> None:
    told(
        reader,
        PACK_IS_500,
        purchase(),
        refunded_in_all(1800),
        refund("re_1", 1800, "failed"),
    )
    found = reader.the_payment()
    assert (found["status"], found["refunded"], found["revoked"]) == ("paid", 0, 0)


def test_an_order_that_was_refunded_before_it_was_known(reader: Reader) -> None:
    told(reader, order(refunded=1200, minutes=9))
    found = reader.the_payment()
    assert (found["status"], found["refunded"], found["revoked"]) == ("refunded", 1200, 800)


def test_a_payment_that_waits_shows_as_parked(reader: Reader) -> None:
    told(
        reader,
        purchase(customer_id=None, provider_customer_id=None),
        AssignPurchase(provider="stripe", provider_id=PAYMENT, customer_id="ws_guest"),
    )
    found = reader.the_payment()
    assert (found["status"], found["customer_id"]) == ("parked", "ws_guest")
    assert (found["granted"], found["grants"], found["lines"]) == (0, [], [])


def test_amounts_of_several_assets_are_not_added_up(reader: Reader) -> None:
    lines = (*TWO_PACKS, PurchaseLine(price_id="price_tok"))
    told(reader, PACK_IS_500, TOKENS, purchase(lines=lines))
    found = reader.the_payment()
    assert (found["granted"], found["revoked"]) == (None, None)
    assert [(g["asset"], g["granted"]) for g in found["grants"]] == [
        ("credits", 1000),
        ("tokens", 7),
    ]


def test_payments_are_found_by_what_is_known_of_them(reader: Reader) -> None:
    day = timedelta(days=1)
    told(
        reader,
        PACK_IS_500,
        purchase(),
        purchase(provider_id="pi_2", customer_id="ws_other", paid_at=PAID_AT + day),
        order(refunded=0, minutes=0),
    )

    def found(**filters: Any) -> list[str]:
        return [row["provider_id"] for row in reader.payments(**filters)]

    assert found() == ["ord-1", "pi_2", PAYMENT]
    assert found(customer_id="ws_other") == ["pi_2"]
    assert found(provider="polar") == ["ord-1"]
    assert found(provider_id="pi_2") == ["pi_2"]
    assert found(status="refunded") == []
    assert found(since=PAID_AT + day) == ["pi_2"]
    assert found(until=PAID_AT + day) == ["ord-1", PAYMENT]


def test_pages_follow_each_other(reader: Reader) -> None:
    told(reader, PACK_IS_500, *(purchase(provider_id=f"pi_{n}") for n in range(5)))
    seen: list[str] = []
    cursor = None
    while True:
        page = reader.ask(lambda c, cursor=cursor: payments(c, limit=2, cursor=cursor))  # type: ignore[misc]
        seen += [row["provider_id"] for row in page["payments"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["pi_4", "pi_3", "pi_2", "pi_1", "pi_0"]
    with pytest.raises(Invalid):
        reader.ask(lambda c: payments(c, limit=2, cursor="1-0000000000000000"))


def test_one_payment_by_its_id(reader: Reader) -> None:
    told(reader, PACK_IS_500, purchase())
    payment_id = reader.the_payment()["payment_id"]
    assert reader.ask(lambda c: payment(c, payment_id)) == reader.the_payment()
    unknown = ids.stream_id(ids.PAYMENT, ids.payment_stream("stripe", "pi_none"))
    assert reader.ask(lambda c: payment(c, unknown)) is None
    assert reader.ask(lambda c: payment(c, "pay_x")) is None


def test_the_last_word_on_a_price_stands(reader: Reader) -> None:
    later = SetPrice(
        provider="stripe",
        price_id=PACK,
        credits=Credits(9),
        name="Nine",
        expires_after_days=30,
        plan_family="packs",
        version="2",
    )
    told(reader, PACK_IS_500, TOKENS, later, order(refunded=0, minutes=0))
    page = reader.ask(lambda c: prices(c, limit=10))
    assert [(row["price_id"], row["credits"], row["origin"]) for row in page["prices"]] == [
        ("polar-price-1", 800, "learned"),
        (PACK, 9, "entered"),
        ("price_tok", 7, "entered"),
    ]
    assert page["prices"][1] | {"recorded_at": "", "position": 0} == {
        "provider": "stripe",
        "price_id": PACK,
        "credits": 9,
        "asset": "credits",
        "kind": "one_time",
        "name": "Nine",
        "expires_after_days": 30,
        "plan_family": "packs",
        "version": "2",
        "internal_id": None,
        "origin": "entered",
        "product_id": None,
        "active": None,
        "position": 0,
        "recorded_at": "",
    }
    polar = reader.ask(lambda c: prices(c, limit=10, provider="polar"))
    assert [row["price_id"] for row in polar["prices"]] == ["polar-price-1"]


def test_links_say_whose_and_whether_closed(reader: Reader) -> None:
    def link(customer: str, customer_id: str, as_of: datetime | None, origin: Any) -> LinkCustomer:
        return LinkCustomer(
            provider="stripe",
            provider_customer_id=customer,
            customer_id=customer_id,
            origin=origin,
            as_of=as_of,
        )

    def close(customer: str) -> CloseLink:
        return CloseLink(
            provider="stripe", provider_customer_id=customer, customer_id=None, closed_at=PAID_AT
        )

    told(
        reader,
        link("cus_1", "ws_1", PAID_AT, "customer"),
        link("cus_2", "ws_1", PAID_AT, "customer"),
        close("cus_1"),
        close("cus_2"),
        link("cus_1", "ws_2", PAID_AT + timedelta(days=1), "customer"),
        link("cus_2", "ws_3", None, "hand"),
    )
    page = reader.ask(lambda c: links(c, limit=10))
    assert [
        (row["provider_customer_id"], row["customer_id"], row["closed"]) for row in page["links"]
    ] == [("cus_2", "ws_3", False), ("cus_1", "ws_2", True)]
    mine = reader.ask(lambda c: links(c, limit=10, customer_id="ws_2"))
    assert [row["provider_customer_id"] for row in mine["links"]] == ["cus_1"]
