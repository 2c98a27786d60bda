"""Ids: what leads from a name to a stream, and from an id to its event, without a look-up table.

Streams have UUIDs derived from what they are about. Things that one event brings about (a grant,
a hold, a deduction, an entry…) are named `prefix_<stream><version>`: the stream's UUID in base 32
(26 characters), then the event's version in that stream. So every id tells where its event is.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from hashlib import sha1
from typing import Final, NamedTuple
from uuid import UUID

_NAMESPACE: Final = UUID("5d1c1b4c-9f2a-5e0e-8a55-c4ed17f0a11e").bytes

#: Ids are asked for several times in a command's life; hashing them anew would show.
_REMEMBERED: Final = 16_384

#: The digits of base 32 (RFC 4648, section 7) in small letters; a pair of them stands for 10 bits.
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_PAIRS: Final = tuple(first + second for first in _DIGITS for second in _DIGITS)
_PAIR_BITS: Final = 10
_PAIR_MASK: Final = (1 << _PAIR_BITS) - 1
_PAIR_SHIFTS: Final = tuple(range(120, -1, -_PAIR_BITS))

#: 26 digits hold 130 bits: a UUID's 128 and two zeros.
_ZEROS: Final = 2
_ZEROS_MASK: Final = (1 << _ZEROS) - 1

#: Where a UUID says its version and its variant (RFC 9562, section 4).
_MARKED: Final = ~(0xF000 << 64 | 0xC000 << 48)
_VERSION_5: Final = 5 << 76 | 0x8000 << 48

_KEY = r"[0-9a-v]{26}"
_EVENT_ID = re.compile(rf"([a-z]{{3}})_({_KEY})([1-9][0-9]{{0,17}})")
_STREAM_ID = re.compile(rf"([a-z]{{3}})_({_KEY})")

GRANT: Final = "grt"
HOLD: Final = "hld"
DEDUCTION: Final = "ded"
REFUND: Final = "ref"
REVOCATION: Final = "rev"
REINSTATEMENT: Final = "rei"
ENTRY: Final = "ent"
EVENT: Final = "evt"
PAYMENT: Final = "pay"
SUBSCRIPTION: Final = "sub"
RECEIPT: Final = "rcp"
DELIVERY: Final = "whd"


class EventRef(NamedTuple):
    """Where an event stands: its stream and its version there."""

    stream: UUID
    version: int


@lru_cache(maxsize=_REMEMBERED)
def account_id(customer_id: str, asset: str) -> UUID:
    """The stream of one customer's holding of one asset."""
    return _named(f"account/{asset}/{customer_id}")


def trail_id(subject: str) -> UUID:
    """The small stream of what became of a grant, hold or deduction."""
    return _named(f"trail/{subject}")


def payment_stream(provider: str, provider_id: str) -> UUID:
    """The stream of one payment at a provider."""
    return _named(f"payment/{provider}/{provider_id}")


def subscription_stream(provider: str, subscription_id: str) -> UUID:
    """The stream of one subscription at a provider."""
    return _named(f"subscription/{provider}/{subscription_id}")


def period_stream(provider: str, subscription_id: str, end: datetime) -> UUID:
    """The stream of what was billed for one period of a subscription, known by its end in UTC."""
    return _named(f"period/{provider}/{end.isoformat()}/{subscription_id}")


def product_stream(provider: str, product_id: str) -> UUID:
    """The stream of one product of a provider's catalogue."""
    return _named(f"product/{provider}/{product_id}")


def price_stream(provider: str, price_id: str) -> UUID:
    """The stream of what one price of a provider is worth."""
    return _named(f"price/{provider}/{price_id}")


def link_stream(provider: str, provider_customer_id: str) -> UUID:
    """The stream that says whose account a provider's customer is."""
    return _named(f"link/{provider}/{provider_customer_id}")


def receipt_uuid(client_id: str, key: str) -> UUID:
    """The receipt of one wish: derived from the client and its idempotency key."""
    return _named(f"receipt/{client_id}/{key}")


def receipt_number(client_id: str, key: str) -> int:
    """The number that `receipt_uuid` stands for."""
    return _number_of(f"receipt/{client_id}/{key}")


def delivery_uuid(provider: str, provider_delivery_id: str) -> UUID:
    """One delivery of a provider, however often it comes."""
    return _named(f"delivery/{provider}/{provider_delivery_id}")


@lru_cache(maxsize=_REMEMBERED)
def stream_key(stream: UUID) -> str:
    """The stream's UUID as 26 characters of base 32."""
    return _digits(stream.int)


def _digits(number: int) -> str:
    bits = number << _ZEROS
    return "".join([_PAIRS[bits >> shift & _PAIR_MASK] for shift in _PAIR_SHIFTS])


def stream_from_key(key: str) -> UUID | None:
    """The stream behind 26 digits of base 32, or None where `stream_key` would not write them."""
    bits = int(key, len(_DIGITS))
    return None if bits & _ZEROS_MASK else UUID(int=bits >> _ZEROS)


def _named(name: str) -> UUID:
    """The UUID of a name, as `uuid5` of our namespace makes it, in half of its time."""
    return UUID(int=_number_of(name))


def _number_of(name: str) -> int:
    digest = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:16]) & _MARKED | _VERSION_5


def event_id(prefix: str, key: str, version: int) -> str:
    """The id of what the event at `version` of the stream with this key brought about."""
    return f"{prefix}_{key}{version}"


def stream_id(prefix: str, stream: UUID) -> str:
    """The public id of a whole stream (a payment), or of a receipt."""
    return f"{prefix}_{_digits(stream.int)}"


@lru_cache(maxsize=_REMEMBERED)
def parse_event_id(prefix: str, text: str) -> EventRef | None:
    """Where the event behind an id stands, or None where the text cannot be such an id."""
    match = _EVENT_ID.fullmatch(text)
    if match is None or match[1] != prefix:
        return None
    stream = stream_from_key(match[2])
    return None if stream is None else EventRef(stream, int(match[3]))


def parse_stream_id(prefix: str, text: str) -> UUID | None:
    """The stream behind a public id, or None where the text cannot be such an id."""
    match = _STREAM_ID.fullmatch(text)
    if match is None or match[1] != prefix:
        return None
    return stream_from_key(match[2])


def version_of(text: str) -> int:
    """The version in an id that this ledger has made itself."""
    return int(text[30:])
