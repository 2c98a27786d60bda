"""What a provider delivered, as it is kept until the ledger has booked it, and what came of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import orjson

from creditledger.domain import ids
from creditledger.domain.provider_commands import Provider

DeliveryStatus = Literal["received", "done", "ignored", "parked", "failed"]

#: The largest body that is accepted: far above any that the providers send.
BODY_BYTES_MAX = 512 * 1024

#: What of the headers is kept: enough to see who sent what when, and no secrets.
_KEPT_HEADERS = (
    "content-type",
    "user-agent",
    "stripe-signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
)

_PLAIN = re.compile(r"[!-~]{1,255}")


class Malformed(Exception):
    """The body is not a JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One body that a provider sent, signed.

    `provider_delivery_id` is Stripe's event id or Polar's `webhook-id`; `delivery_id` is derived
    from it, so one delivery has one id however often it comes. `stream_key` names whose news
    should stay in order, as far as the body tells.
    """

    delivery_id: str
    provider: Provider
    provider_delivery_id: str
    type: str | None
    stream_key: str
    body: bytes
    headers: Mapping[str, str]
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a try.

    `received` means another try, in `retry_seconds`. A parked delivery is tried again when one
    of the streams in `awaits` has news past `seen_position`. `payment` is the provider's id of
    the payment that the delivery is about, `position` where in the log stands what it did.
    `faults` counts the tries in a row that failed by themselves, `trace` says where the last one
    did.
    """

    status: DeliveryStatus
    reason: str | None = None
    detail: str | None = None
    trace: str | None = None
    waits_for: str | None = None
    awaits: tuple[UUID, ...] = ()
    payment: str | None = None
    position: int | None = None
    seen_position: int = 0
    retry_seconds: float = 0.0
    faults: int = 0


@dataclass(slots=True, kw_only=True)
class Taken:
    """A delivery in one worker's hands.

    `tries` counts those before this one, `faults` those of them, just before it, that failed by
    themselves in a row. `position` is the log's newest when it was taken.
    """

    delivery: Delivery
    tries: int
    faults: int
    position: int
    verdict: Verdict | None = None

    def settle(self, verdict: Verdict) -> None:
        """Say what came of it; without a verdict, it comes again.

        Where it is to be tried again, so are those of its key behind it: they have no verdict.
        """
        self.verdict = verdict


class Stream(Protocol):
    """Where deliveries wait between the answer to the provider and the ledger.

    At least once, to one worker at a time, in order for each key except for those that are
    parked or failed. Any thread may call `put` and `waiting`; `take` and `wait` are one worker's,
    who has this end of the stream for itself. Everything but `close` raises Unavailable where the
    stream cannot be reached.
    """

    def put(self, *deliveries: Delivery) -> None:
        """Keep deliveries, durably when this returns; one that is known already is kept once.

        In their order for each key. Where it raises, some of them may be kept all the same.
        """

    def take(self, limit: int) -> AbstractContextManager[Sequence[Taken]]:
        """The next deliveries, those of one key in their order, and none where none is due.

        What was settled is written down as the block ends; where it ends with an exception, or
        the worker goes away, all of them come again.
        """

    def wait(self, seconds: float) -> None:
        """Return when there may be something to take, or after so many seconds."""

    def waiting(self) -> int:
        """How many deliveries have yet to be handled, or to be tried again."""

    def close(self) -> None:
        """Let go of what this end holds; it can be taken elsewhere at once."""


def read_delivery(
    provider: Provider, body: bytes, headers: Mapping[str, str], received_at: datetime
) -> Delivery:
    """A delivery from a request whose signature was checked. Raises Malformed."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise Malformed(f"the body is not JSON at {place}") from None
    if not isinstance(event, dict):
        raise Malformed("the body is JSON, but not an object")
    kept = {name: headers[name] for name in _KEPT_HEADERS if headers.get(name, "\0").isprintable()}
    said_id = event.get("id") if provider == "stripe" else headers.get("webhook-id")
    # A body without an id is known by its bytes, so that it is kept once, too.
    provider_delivery_id = _plain(said_id) or f"sha256:{hashlib.sha256(body).hexdigest()}"
    delivery_id = ids.stream_id(ids.DELIVERY, ids.delivery_uuid(provider, provider_delivery_id))
    named = _stripe_subject(event) if provider == "stripe" else _polar_subject(event)
    return Delivery(
        delivery_id=delivery_id,
        provider=provider,
        provider_delivery_id=provider_delivery_id,
        type=_plain(event.get("type")),
        stream_key=f"{provider}:{named or delivery_id}",
        body=body,
        headers=kept,
        received_at=received_at,
    )


def _stripe_subject(event: Mapping[str, Any]) -> str | None:
    found = _object(_object(event.get("data")).get("object"))
    itself = _plain(found.get("id"))
    if found.get("object") == "customer":
        return itself
    return _plain(found.get("customer")) or _plain(found.get("payment_intent")) or itself


def _polar_subject(event: Mapping[str, Any]) -> str | None:
    found = _object(event.get("data"))
    return (
        _plain(found.get("customer_id")) or _plain(found.get("order_id")) or _plain(found.get("id"))
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: object) -> str | None:
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else None
