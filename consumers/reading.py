"""Reading providers' JSON: tolerant of what is new in it, strict about what money depends on.

The providers' own models refuse genuine bodies as soon as a field or a value is new to them, so
bodies are read field by field. A value of an unexpected kind is news that the service does not
understand: it is parked with the field's name, never guessed and never an error of ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from creditledger.domain.amounts import CREDITS_MAX, Credits, Money
from creditledger.domain.commands import Command
from creditledger.domain.errors import Parked
from creditledger.domain.provider_commands import Period

#: Longer than any id that the providers make; it bounds what reaches the log and its indexes.
ID_LENGTH_MAX = 255

CUSTOMER_ID_LENGTH_MAX = 128

_ID = re.compile(r"[!-~]+")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,16}")
_SECONDS_MAX = 253_402_300_799  # the last second of the year 9999


@dataclass(frozen=True, slots=True)
class Told:
    """What a delivery says, as commands in order.

    `lines_of` is the Checkout Session or invoice whose lines say what was bought, where the body
    itself does not: a purchase in `commands` then has none.
    """

    commands: tuple[Command, ...]
    lines_of: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """The delivery concerns nothing that the ledger keeps; `reason` is a code."""

    reason: str


def unknown_value(path: str, value: object, expected: str) -> Parked:
    """The parking of a delivery that says something in a way that the service does not know."""
    shown = repr(value)[:80]
    return Parked(
        reason="unknown_value",
        waits_for=None,
        detail=f"{path} is {shown}, where {expected} was expected",
    )


def unsupported_version(version: object) -> Parked:
    """The parking of a delivery whose API version is none that the service reads."""
    return Parked(
        reason="unsupported_version", waits_for=None, detail=f"api_version {version}"[:100]
    )


class Reader:
    """One JSON object of a body, read by field names; `path` is where in the body it stands.

    Everything raises Parked with reason `unknown_value` where a field is of another kind than
    asked for. `…_or_none` takes null and a missing field for None.
    """

    def __init__(self, fields: Mapping[str, Any], path: str = "") -> None:
        self._fields = fields
        self._path = path

    def path(self, name: str) -> str:
        """The field's place in the body."""
        return f"{self._path}.{name}" if self._path else name

    def unknown(self, name: str, expected: str) -> Parked:
        """What to raise about a field whose value is none that the service knows."""
        return unknown_value(self.path(name), self._fields.get(name), expected)

    def object(self, name: str) -> Reader:
        """The object in a field."""
        found = self.object_or_none(name)
        if found is None:
            raise self.unknown(name, "an object")
        return found

    def object_or_none(self, name: str) -> Reader | None:
        """The object in a field."""
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.unknown(name, "an object")
        return Reader(value, self.path(name))

    def objects(self, name: str) -> Iterator[Reader]:
        """The objects in a list."""
        value = self._fields.get(name)
        if not isinstance(value, list):
            raise self.unknown(name, "a list")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise unknown_value(f"{self.path(name)}[{index}]", item, "an object")
            yield Reader(item, f"{self.path(name)}[{index}]")

    def metadata(self) -> Reader:
        """What the merchant wrote on the object; empty where that is nothing."""
        return self.object_or_none("metadata") or Reader({}, self.path("metadata"))

    def id(self, name: str) -> str:
        """The id in a field."""
        found = self.id_or_none(name)
        if found is None:
            raise self.unknown(name, "an id")
        return found

    def id_or_none(self, name: str) -> str | None:
        """The id in a field, or in the object that stands there in its place."""
        value = self._fields.get(name)
        if isinstance(value, dict):
            value = value.get("id")
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > ID_LENGTH_MAX or not _ID.fullmatch(value):
            raise self.unknown(name, f"an id of at most {ID_LENGTH_MAX} characters")
        return value

    def expanded_or_none(self, name: str) -> Reader | None:
        """The object that stands in a field in the place of its id, where one does."""
        value = self._fields.get(name)
        return Reader(value, self.path(name)) if isinstance(value, dict) else None

    def customer_id_or_none(self, name: str) -> str | None:
        """One of our own customer ids, as a provider carries it for us."""
        value = self._fields.get(name)
        if value is None or value == "":
            return None
        if (
            not isinstance(value, str)
            or len(value) > CUSTOMER_ID_LENGTH_MAX
            or not value.isprintable()
        ):
            raise self.unknown(
                name, f"a customer id of at most {CUSTOMER_ID_LENGTH_MAX} printable characters"
            )
        return value

    def word(self, name: str) -> str | None:
        """The text in a field, for comparing with known words; None where it is no text."""
        value = self._fields.get(name)
        return value if isinstance(value, str) else None

    def one_of(self, name: str, known: Collection[str]) -> str:
        """One of the known words."""
        value = self.word(name)
        if value is None or value not in known:
            raise self.unknown(name, f"one of {', '.join(sorted(known))}")
        return value

    def label_or_none(self, name: str) -> str | None:
        """A short text for people, or a whole number; what cannot be shown is left out."""
        value = self._fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.isprintable():
            return None
        return value[:ID_LENGTH_MAX] or None

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._fields.get(name)
        if not isinstance(value, bool):
            raise self.unknown(name, "true or false")
        return value

    def flag_or_none(self, name: str) -> bool | None:
        """True or false."""
        return None if self._fields.get(name) is None else self.flag(name)

    def integer(self, name: str, *, minimum: int = 0) -> int:
        """A whole number from `minimum` to `CREDITS_MAX`."""
        value = self._fields.get(name)
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or not minimum <= value <= CREDITS_MAX
        ):
            raise self.unknown(name, f"a whole number from {minimum} to {CREDITS_MAX}")
        return value

    def signed(self, name: str) -> int:
        """A whole number of at most `CREDITS_MAX`, which may be negative."""
        return self.integer(name, minimum=-CREDITS_MAX)

    def number_or_none(self, name: str, *, minimum: int) -> int | None:
        """A whole number, as such or as text of digits: what metadata holds."""
        value = self._fields.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            value = int(value)
        return Reader({name: value}, self._path).integer(name, minimum=minimum)

    def credits_or_none(self, name: str) -> Credits | None:
        """How many credits metadata says."""
        found = self.number_or_none(name, minimum=0)
        return None if found is None else Credits(found)

    def money(self, name: str, amount: int | None = None) -> Money:
        """The amount in a field (or this one) in the object's `currency`."""
        number = self.integer(name) if amount is None else amount
        return Money(number, self.currency())

    def currency(self) -> str:
        """The object's `currency`, in capitals."""
        value = self._fields.get("currency")
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{3}", value):
            raise self.unknown("currency", "a currency code of three letters")
        return value.upper()

    def seconds(self, name: str) -> datetime:
        """A time in whole seconds since 1970."""
        value = self.integer(name)
        if value > _SECONDS_MAX:
            raise self.unknown(name, "a time in seconds")
        return datetime.fromtimestamp(value, UTC)

    def seconds_or_none(self, name: str) -> datetime | None:
        """A time in whole seconds since 1970."""
        return None if self._fields.get(name) is None else self.seconds(name)

    def time(self, name: str) -> datetime:
        """A time of RFC 3339 with an offset."""
        found = self.time_or_none(name)
        if found is None:
            raise self.unknown(name, "a time")
        return found

    def time_or_none(self, name: str) -> datetime | None:
        """A time of RFC 3339 with an offset."""
        value = self._fields.get(name)
        if value is None:
            return None
        try:
            found = datetime.fromisoformat(value)
            return found.astimezone(UTC) if found.tzinfo else self._no_time(name)
        except (TypeError, ValueError, OverflowError):
            return self._no_time(name)

    def _no_time(self, name: str) -> datetime:
        raise self.unknown(name, "a time with an offset")


def period(start: datetime | None, end: datetime | None) -> Period | None:
    """From `start` to `end`; None where one is not told, or no time lies between them."""
    return Period(start, end) if start and end and end > start else None


def moment_of(record: Reader) -> datetime | None:
    """When one of Polar's records was last changed, as it says itself."""
    return record.time_or_none("modified_at") or record.time_or_none("created_at")
