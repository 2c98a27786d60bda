"""A delivery as a Kafka record: the body as it came is the value, all else stands in headers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Protocol, cast, get_args

from creditledger.domain.provider_commands import Provider
from creditledger.infra.delivery import Delivery, Taken
from creditledger.infra.delivery_table import DETAIL_LENGTH_MAX, TRACE_LENGTH_MAX

Headers = list[tuple[str, bytes]]

#: Before the names of the headers that the delivery itself came with.
_CAME_WITH: Final = "http."


class Record(Protocol):
    """What is read of a record."""

    @property
    def key(self) -> bytes | None:
        """Whose news it is."""

    @property
    def value(self) -> bytes | None:
        """The body."""

    @property
    def headers(self) -> Iterable[tuple[str, bytes]]:
        """What is said of it."""


class Unreadable(Exception):
    """A record is not a delivery: somebody else put it on the topic."""


def headers_of(delivery: Delivery) -> Headers:
    """The headers of a delivery's record."""
    told = {
        "delivery_id": delivery.delivery_id,
        "provider": delivery.provider,
        "provider_delivery_id": delivery.provider_delivery_id,
        "type": delivery.type,
        "received_at": delivery.received_at.isoformat(),
        **{_CAME_WITH + name: value for name, value in delivery.headers.items()},
    }
    return [(name, value.encode()) for name, value in told.items() if value is not None]


def delivery_of(record: Record) -> Delivery:
    """The delivery of a record. Raises Unreadable."""
    try:
        told = {name: value.decode() for name, value in record.headers}
        if told["provider"] not in get_args(Provider):
            raise ValueError(f"the provider is {told['provider']!r}")
        if record.key is None or record.value is None:
            raise ValueError("the key or the body is missing")
        received_at = datetime.fromisoformat(told["received_at"])
        if received_at.tzinfo is None:
            raise ValueError("received_at has no time zone")
        return Delivery(
            delivery_id=told["delivery_id"],
            provider=cast(Provider, told["provider"]),
            provider_delivery_id=told["provider_delivery_id"],
            type=told.get("type"),
            stream_key=record.key.decode(),
            body=record.value,
            headers={
                name.removeprefix(_CAME_WITH): value
                for name, value in told.items()
                if name.startswith(_CAME_WITH)
            },
            received_at=received_at,
        )
    except (KeyError, ValueError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def dead_headers_of(taken: Taken) -> Headers:
    """The headers of a dead letter: why the delivery failed, where, after how many tries."""
    verdict = taken.verdict
    assert verdict is not None
    return [
        *headers_of(taken.delivery),
        ("reason", (verdict.reason or "").encode()),
        ("detail", _short(verdict.detail, DETAIL_LENGTH_MAX)),
        ("trace", _short(verdict.trace, TRACE_LENGTH_MAX)),
        ("tries", str(taken.tries + 1).encode()),
    ]


def _short(text: str | None, length_max: int) -> bytes:
    return (text or "")[:length_max].encode(errors="replace")
