"""Rows for tables that are only added to, in the binary form of COPY.

It takes a fraction of what statements with values take, on both sides: nothing is escaped, planned
or converted, and what repeats from row to row (assets, features, actors) is packed once. What is
packed here is byte for byte what the server gives back, so rows may be compared without a look
into them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import msgspec
from psycopg import Connection, Cursor, sql

#: A value as COPY takes it: its length in bytes, then the value.
Packed = bytes

# Signature, flags, and the length of a header extension that is not there; the end is a row of
# -1 columns.
HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"

_LENGTH: Final = Struct("!i")
_BIGINT: Final = Struct("!iq")
NULL: Final[Packed] = _LENGTH.pack(-1)
_JSONB_HEAD: Final = Struct("!ib")
_JSONB_VERSION: Final = 1
_encode: Final = msgspec.json.Encoder().encode

_POSTGRES_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

#: Rows that are packed and handed over at a time.
_ROWS_AT_ONCE: Final = 256

#: Values that are kept packed, of each type.
_KEPT: Final = 16_384


def text(value: str | None) -> Packed:
    """A text or NULL. Raises ValueError where it holds the character NUL."""
    if value is None:
        return NULL
    encoded = value.encode()
    if 0 in encoded:
        raise ValueError("a text for PostgreSQL cannot hold the character NUL")
    return _LENGTH.pack(len(encoded)) + encoded


#: A text or NULL, of which there are few different ones, or the same come close together.
repeated_text: Final = lru_cache(_KEPT)(text)


def timestamptz(value: datetime | None) -> Packed:
    """An aware time or NULL."""
    return NULL if value is None else _BIGINT.pack(8, microseconds(value))


def microseconds(value: datetime) -> int:
    """An aware time as the server counts it."""
    return (value - _POSTGRES_EPOCH) // _MICROSECOND


def jsonb(value: Any) -> Packed:
    """A document, or NULL for None.

    The bytes are those that the server gives back where its names stand in the server's order: by
    their lengths, then by their letters.
    """
    return NULL if value is None else document(msgspec.json.format(_encode(value), indent=0))


def document(written: bytes) -> Packed:
    """A document that is written already, in the server's form."""
    return _JSONB_HEAD.pack(len(written) + 1, _JSONB_VERSION) + written


def jsonb_of_names(value: Mapping[str, Any] | None) -> Packed:
    """The same for an object whose names stand in any order."""
    if value is not None and len(value) > 1:
        value = {name: value[name] for name in sorted(value, key=_jsonb_place)}
    return jsonb(value)


def _jsonb_place(name: str) -> tuple[int, bytes]:
    letters = name.encode()
    return len(letters), letters


class CopiedTable:
    """A table with its columns, in the order in which rows are packed."""

    def __init__(self, name: str, *columns: str) -> None:
        self.name = name
        self._statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
        )

    def add(self, cursor: Cursor[Any], rows: Sequence[Packed]) -> None:
        """Add rows, each packed whole: the number of its columns as two bytes, then its values."""
        with cursor.copy(self._statement) as copy:
            copy.write(HEADER)
            for first in range(0, len(rows), _ROWS_AT_ONCE):
                copy.write(b"".join(rows[first : first + _ROWS_AT_ONCE]))
            copy.write(END)


def copied_out(connection: Connection[Any], rows: sql.Composable) -> Iterator[Packed]:
    """What the server gives for a query, row by row as rows are packed, and `END`.

    To be read to its end: what is left of it would be cancelled, and the transaction with it.
    """
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(rows)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        # Each row comes by itself, but the first has the header before it.
        pieces = map(bytes, copy)
        yield next(pieces).removeprefix(HEADER)
        yield from pieces
