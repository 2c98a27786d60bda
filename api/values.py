"""Values as they come from outside: what fits, said once for bodies, paths, queries and headers.

Nothing is converted silently: `5.0`, `"5"` and `true` are not the number 5. Each limit says why it
is there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from creditledger.domain import answers
from creditledger.domain.amounts import CREDITS_MAX
from creditledger.domain.commands import Metadata
from creditledger.domain.policies import PRIORITY_MAX

#: Long enough for UUIDs, mail addresses and URLs of moderate length; short enough for an index.
CUSTOMER_ID_LENGTH_MAX: Final = 128

#: Ours have 48 characters at most; anything longer than this cannot be one.
ID_LENGTH_MAX: Final = 128

#: A name by which usage is grouped, not a text.
FEATURE_LENGTH_MAX: Final = 128

#: A number of an order or invoice elsewhere.
REFERENCE_LENGTH_MAX: Final = 255

#: A sentence or two for whoever reads the history.
REASON_LENGTH_MAX: Final = 500

#: The usual limits of metadata at payment providers, so that theirs can be kept as it is.
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_LENGTH_MAX: Final = 64
METADATA_TEXT_LENGTH_MAX: Final = 500

#: A century: longer is a typing error, and no expiry at all is said by leaving it out.
EXPIRES_AFTER_DAYS_MAX: Final = 36_500

#: Longer than any UUID or hash that clients make; the width of a header that every proxy passes.
KEY_LENGTH_MAX: Final = 255

#: Nothing of ours is older. The latest is the last microsecond of the year 9999, in UTC, which
#: other systems send for a time that never comes.
TIME_MIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MAX: Final = datetime.max.replace(tzinfo=UTC)
_TIME_OUTSIDE: Final = (
    f"should lie between {answers.instant(TIME_MIN)} and {answers.instant(TIME_MAX)}"
)

#: Without characters that nobody sees, or that change how others are shown. Surrogates are halves
#: of characters; U+FFFD stands for what could not be read.
_SURROGATES: Final = r"\ud800-\udfff"
PRINTABLE: Final = (
    r"^[^\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    rf"{_SURROGATES}\ufeff\ufff9-\uffff]*$"
)
NO_NUL: Final = rf"^[^\u0000{_SURROGATES}]*$"

#: A slash within a segment of the path, as `api/paths.py` marks it.
SLASH: Final = "\udc2f"

_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DIGITS: Final = re.compile(r"\d{1,19}", re.ASCII)
_NUL: Final = "\x00"


@dataclass(frozen=True, slots=True)
class Text:
    """Marks a `str` that comes from outside: its length in characters, and which ones fit.

    `reason` is what is told where the pattern does not match.
    """

    length_max: int
    pattern: str = PRINTABLE
    reason: str = "holds characters that are not printable"
    length_min: int = 1

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        fits = re.compile(self.pattern).fullmatch
        least, most, reason = self.length_min, self.length_max, self.reason

        def check(value: object) -> str:
            if not isinstance(value, str):
                raise PydanticCustomError("text", "should be a text")
            if SLASH in value:
                value = value.replace(SLASH, "/")
            if not least <= len(value) <= most:
                raise PydanticCustomError(
                    "text",
                    "has {length} characters, and can have {least} to {most}",
                    {"length": len(value), "least": least, "most": most},
                )
            if fits(value) is None:
                raise PydanticCustomError("text", reason)
            return value

        return core_schema.no_info_plain_validator_function(check)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {
            "type": "string",
            "minLength": self.length_min,
            "maxLength": self.length_max,
            # A text of JSON cannot hold surrogates, and few readers of patterns know them.
            "pattern": self.pattern.replace(_SURROGATES, ""),
        }


def parse_time(value: object) -> datetime:
    """A moment in UTC from RFC 3339 with an offset. Raises ValueError.

    What is finer than a microsecond is cut off.
    """
    if not isinstance(value, str) or _RFC_3339.fullmatch(value) is None:
        raise PydanticCustomError(
            "time", "should be a time by RFC 3339 with an offset, such as 2026-03-01T12:00:00Z"
        )
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except ValueError:
        raise PydanticCustomError("time", "is not a time that exists") from None
    except OverflowError:
        raise PydanticCustomError("time", _TIME_OUTSIDE) from None
    if moment < TIME_MIN:
        raise PydanticCustomError("time", _TIME_OUTSIDE)
    return moment


def _time_in_query(value: object) -> object:
    """A plus that nobody encoded arrives as a space: what was meant is plain."""
    return value.replace(" ", "+") if isinstance(value, str) else value


def integer_in_text(value: object) -> int:
    """A whole number, zero or more, from its digits in a query; a default comes as it is."""
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or _DIGITS.fullmatch(value) is None:
        raise PydanticCustomError("integer", "should be a whole number, written in digits")
    return int(value)


def truth_in_text(value: object) -> bool:
    """`true` or `false` in a query; a default comes as it is."""
    if isinstance(value, bool):
        return value
    if value not in ("true", "false"):
        raise PydanticCustomError("boolean", "should be true or false")
    return value == "true"


def _scalars(value: object) -> Metadata:
    if not isinstance(value, Mapping):
        raise PydanticCustomError("metadata", "should be an object")
    if len(value) > METADATA_KEYS_MAX:
        raise PydanticCustomError(
            "metadata",
            "has {count} keys, and can have {limit}",
            {"count": len(value), "limit": METADATA_KEYS_MAX},
        )
    for key, item in value.items():
        if not 1 <= len(key) <= METADATA_KEY_LENGTH_MAX or _NUL in key:
            raise PydanticCustomError(
                "metadata",
                "has a key of {length} characters; it can have 1 to {limit}, and no NUL",
                {"length": len(key), "limit": METADATA_KEY_LENGTH_MAX},
            )
        if fault := _metadata_fault(item):
            raise PydanticCustomError("metadata", "{key}: {fault}", {"key": key, "fault": fault})
    return dict(value)


def _metadata_fault(item: object) -> str | None:
    match item:
        case None | bool():
            return None
        case str() if len(item) > METADATA_TEXT_LENGTH_MAX:
            return f"has {len(item)} characters, and can have {METADATA_TEXT_LENGTH_MAX}"
        case str():
            return "holds a NUL character" if _NUL in item else None
        case int():
            # Larger ones lose digits in other readers of JSON.
            return None if abs(item) <= CREDITS_MAX else f"can be ±{CREDITS_MAX} at most"
        case float():
            return None if math.isfinite(item) else "should be a finite number"
        case _:
            return "should be a text, a number, true, false or null"


Amount = Annotated[
    int, Field(strict=True, ge=1, le=CREDITS_MAX, description="Credits, a whole number")
]
AmountOrZero = Annotated[int, Field(strict=True, ge=0, le=CREDITS_MAX)]
Priority = Annotated[
    int, Field(strict=True, ge=0, le=PRIORITY_MAX, description="Small is spent first")
]
ExpiresAfterDays = Annotated[int, Field(strict=True, ge=1, le=EXPIRES_AFTER_DAYS_MAX)]

CustomerId = Annotated[
    str,
    Text(CUSTOMER_ID_LENGTH_MAX),
    Field(
        description="Your own id of the customer, never reused. Compared by its characters as they "
        "are sent, and never normalised: send the same form (such as NFC) each time",
        examples=["acme"],
    ),
]
Asset = Annotated[
    str,
    Text(32, r"^[a-z][a-z0-9_]*$", "should be a-z, then a-z, 0-9 and _"),
    Field(description="The kind of credits", examples=["credits"]),
]
#: An id of ours as it comes back; one that names nothing is answered 404, not 422.
IdText = Annotated[str, Text(ID_LENGTH_MAX)]
Feature = Annotated[
    str,
    Text(FEATURE_LENGTH_MAX),
    Field(description="What the credits are spent on", examples=["chat"]),
]
Reference = Annotated[
    str,
    Text(REFERENCE_LENGTH_MAX),
    Field(description="A name of it elsewhere", examples=["invoice 17"]),
]
Reason = Annotated[
    str,
    Text(REASON_LENGTH_MAX, NO_NUL, "holds a NUL character", length_min=0),
    Field(description="Why, for whoever reads the history"),
]
Key = Annotated[
    str,
    Text(KEY_LENGTH_MAX, r"^[!-~]([ -~]*[!-~])?$", "should be printable ASCII characters"),
    Field(
        description="What names this one wish, such as a UUID: printable ASCII characters",
        examples=["4c7a1d1e-8f2b-4a55-9a0e-0f6f3f0f5a11"],
    ),
]


def _without_blanks(value: object) -> object:
    return value.strip(" \t") if isinstance(value, str) else value


#: A key in a header, around whose value HTTP allows blanks.
HeaderKey = Annotated[Key, BeforeValidator(_without_blanks)]
Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339 with an offset",
            "examples": ["2026-12-31T23:59:59Z"],
        }
    ),
]
QueryTime = Annotated[Time, BeforeValidator(_time_in_query)]
MetadataField = Annotated[
    Mapping[str, Any],
    BeforeValidator(_scalars),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": METADATA_KEYS_MAX,
            "propertyNames": {
                "minLength": 1,
                "maxLength": METADATA_KEY_LENGTH_MAX,
                "pattern": r"^[^\u0000]*$",
            },
            "additionalProperties": {
                "anyOf": [
                    {
                        "type": "string",
                        "maxLength": METADATA_TEXT_LENGTH_MAX,
                        "pattern": r"^[^\u0000]*$",
                    },
                    {"type": "number", "minimum": -CREDITS_MAX, "maximum": CREDITS_MAX},
                    {"type": "boolean"},
                    {"type": "null"},
                ]
            },
            "description": "Whatever helps you later; nothing personal",
            "examples": [{"request_id": "r-17"}],
        }
    ),
]

#: Numbers and truths in a query, where everything is text.
Position = Annotated[
    int,
    Field(ge=0, le=2**63 - 1, description="A place in the log"),
    BeforeValidator(integer_in_text),
]
Truth = Annotated[bool, BeforeValidator(truth_in_text)]
