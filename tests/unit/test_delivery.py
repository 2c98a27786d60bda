"""What of a request is kept as a delivery, and what is no delivery at all."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from creditledger.infra.delivery import Delivery, Malformed, read_delivery
from provider_bodies import body

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
SESSION = body("stripe.checkout.session.completed.payment_paid")
ORDER = body("polar.order.paid.purchase")


def stripe(content: bytes, **headers: str) -> Delivery:
    return read_delivery("stripe", content, headers, NOW)


def polar(content: bytes, webhook_id: str = "msg_1") -> Delivery:
    return read_delivery("polar", content, {"webhook-id": webhook_id}, NOW)


def test_a_stripe_event_is_known_by_its_id() -> None:
    delivery = stripe(SESSION)
    assert delivery.provider_delivery_id == "evt_7TWZvJvxJbUIPCy0jwru0wGb"
    assert delivery.type == "checkout.session.completed"
    assert delivery.delivery_id.startswith("whd_")
    assert delivery.body == SESSION


def test_a_polar_event_is_known_by_its_header() -> None:
    delivery = polar(ORDER)
    assert (delivery.provider_delivery_id, delivery.type) == ("msg_1", "order.paid")


def test_the_same_delivery_has_the_same_id() -> None:
    assert polar(ORDER).delivery_id == polar(ORDER).delivery_id
    assert polar(ORDER).delivery_id != polar(ORDER, "msg_2").delivery_id
    assert read_delivery("polar", b"{}", {"webhook-id": "evt_1"}, NOW).delivery_id != (
        stripe(b'{"id": "evt_1"}').delivery_id
    )


@pytest.mark.parametrize("content", [b"{}", b'{"id": 7}', b'{"id": "a\\u0000b"}', b'{"id": ""}'])
def test_an_event_without_an_id_is_known_by_its_bytes(content: bytes) -> None:
    first, again = stripe(content), stripe(content)
    assert first.provider_delivery_id.startswith("sha256:")
    assert first.delivery_id == again.delivery_id
    assert first.type is None


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (SESSION, "stripe:cus_ncpckeCHVGLA5q"),
        (body("stripe.customer.created.linked"), "stripe:cus_ncpckeCHVGLA5q"),
        (body("stripe.refund.created.partial"), "stripe:pi_8kIJbT1rN7biotKnxdcLFdQT"),
        (b'{"data": {"object": {"id": "prod_1"}}}', "stripe:prod_1"),
    ],
)
def test_stripe_news_is_kept_in_order_by_customer_else_payment_else_object(
    content: bytes, key: str
) -> None:
    assert stripe(content).stream_key == key


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (ORDER, "polar:3906d812-f705-4112-a3e0-48f7d14d85e5"),
        (
            body("polar.customer.created.with_external_id"),
            "polar:3906d812-f705-4112-a3e0-48f7d14d85e5",
        ),
        (b'{"data": {"order_id": "ord_1", "id": "refund_1"}}', "polar:ord_1"),
        (b'{"data": {"id": "prod_1"}}', "polar:prod_1"),
    ],
)
def test_polar_news_is_kept_in_order_the_same_way(content: bytes, key: str) -> None:
    assert polar(content).stream_key == key


def test_what_names_nothing_has_a_key_of_its_own() -> None:
    delivery = stripe(b'{"id": "evt_1", "data": [1]}')
    assert delivery.stream_key == f"stripe:{delivery.delivery_id}"


def test_only_headers_that_tell_of_the_delivery_are_kept() -> None:
    headers = {"authorization": "Bearer x", "cookie": "y", "user-agent": "Stripe/1.0"}
    assert stripe(SESSION, **headers).headers == {"user-agent": "Stripe/1.0"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"7",
        b"not json",
        b"{",
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b"{} {}",
        b"[" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_json_object_is_no_delivery(content: bytes) -> None:
    with pytest.raises(Malformed):
        stripe(content)
