"""Rows for tables that are only added to, in the binary form of COPY.

It takes a fraction of what statements with values take, on both sides: nothing is escaped, planned
or converted, and what repeats from row to row (customers, actors, times) is packed once. What is
packed here is byte for byte what the server gives back, so rows may be compared without a look
into them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import chain, islice, repeat
from struct import Struct
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import Connection, Cursor, sql

#: A value as COPY takes it: its length in bytes, then the value.
Packed = bytes
Buffer = bytes | bytearray | memoryview
Pack = Callable[[Any], Packed]

# Signature, flags, and the length of a header extension that is not there; the end is a row of
# -1 columns.
HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"

_COUNT: Final = Struct("!h")
_LENGTH: Final = Struct("!i")
_NULL: Final = _LENGTH.pack(-1)
_JSONB_HEAD: Final = Struct("!ib")
_JSONB_VERSION: Final = 1
_encode: Final = msgspec.json.Encoder().encode

_POSTGRES_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

#: Rows that are packed and handed over at a time.
_ROWS_AT_ONCE: Final = 256

#: Values that are kept packed, of each type.
_KEPT: Final = 16_384

#: A bigint, never NULL.
bigint: Final[Pack] = partial(Struct("!iq").pack, 8)


def uuid(value: UUID) -> Packed:
    """A uuid, never NULL."""
    return b"\0\0\0\x10" + value.int.to_bytes(16)


def text(value: str | None) -> Packed:
    """A text or NULL. Raises ValueError where it holds the character NUL."""
    if value is None:
        return _NULL
    encoded = value.encode()
    if 0 in encoded:
        raise ValueError("a text for PostgreSQL cannot hold the character NUL")
    return _LENGTH.pack(len(encoded)) + encoded


#: A text or NULL, of which there are few different ones, or the same come close together.
repeated_text: Final[Pack] = lru_cache(_KEPT)(text)


@lru_cache(_KEPT)
def timestamptz(value: datetime | None) -> Packed:
    """An aware time or NULL."""
    if value is None:
        return _NULL
    return bigint((value - _POSTGRES_EPOCH) // _MICROSECOND)


def jsonb(value: Any) -> Packed:
    """A document, or NULL for None.

    The bytes are those that the server gives back where its names stand in the server's order: by
    their lengths, then by their letters.
    """
    if value is None:
        return _NULL
    document = msgspec.json.format(_encode(value), indent=0)
    return _JSONB_HEAD.pack(len(document) + 1, _JSONB_VERSION) + document


def jsonb_of_names(value: Mapping[str, Any] | None) -> Packed:
    """The same for an object whose names stand in any order."""
    if value is not None and len(value) > 1:
        value = {name: value[name] for name in sorted(value, key=_jsonb_place)}
    return jsonb(value)


def _jsonb_place(name: str) -> tuple[int, bytes]:
    letters = name.encode()
    return len(letters), letters


class CopiedTable:
    """A table with the types of its columns, in their order, which is that of a row's values."""

    def __init__(self, name: str, **columns: Pack) -> None:
        self.name = name
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        self._statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            sql.Identifier(name), names
        )
        self._packs = tuple(columns.values())
        self._head = _COUNT.pack(len(columns))

    def add(self, cursor: Cursor[Any], rows: Iterable[tuple[Any, ...]]) -> None:
        """Add rows to the table."""
        with cursor.copy(self._statement) as copy:
            copy.write(HEADER)
            for packed in self.packed(rows):
                copy.write(packed)
            copy.write(END)

    def packed(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
        """The rows as they are copied, many at a time, without `HEADER` and `END`."""
        remaining = iter(rows)
        while some := tuple(islice(remaining, _ROWS_AT_ONCE)):
            # Column by column, because one function after the other on many values is faster.
            columns = [
                map(pack, values)
                for pack, values in zip(self._packs, zip(*some, strict=True), strict=True)
            ]
            packed = zip(repeat(self._head), *columns, strict=False)
            yield b"".join(chain.from_iterable(packed))


def copied_out(connection: Connection[Any], rows: sql.Composable) -> Iterator[Buffer]:
    """What the server gives for a query, `HEADER` and `END` included, in pieces."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(rows)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        yield from copy
