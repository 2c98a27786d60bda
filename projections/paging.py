"""Cursors: where the next page of a listing begins, in a text that only its own listing accepts.

A cursor carries a checksum over the listing and its filters. It guards nothing secret (a listing
shows nothing else from another place on), so its key need not be one; it lets a text that was
changed, or that belongs to another listing, be refused instead of answered with a wrong page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection

from creditledger.domain.errors import Invalid
from creditledger.projections.queries import rows_of

#: Newer than every position.
FROM_THE_NEWEST: Final = 2**63 - 1

_CURSOR: Final = re.compile(r"([0-9a-z.]{1,64})-([0-9a-f]{16})")


def scope(listing: str, *filters: object) -> str:
    """The text that stands for a listing with its filters."""
    return repr((listing, *(None if value is None else str(value) for value in filters)))


def place_of(cursor: str | None, scope: str) -> str | None:
    """Where the page begins, as `cursor_at` was told it; None for the first page.

    Raises Invalid where the cursor was not given out by this listing with these filters.
    """
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None or match[2] != _checksum(scope, match[1]):
        reason = "was not given out by this listing with these filters"
        raise Invalid(field="cursor", reason=reason)
    return match[1]


def cursor_at(place: object, scope: str) -> str:
    """The cursor of the page that begins after a place: digits, small letters and points."""
    return f"{place}-{_checksum(scope, str(place))}"


async def page_of(
    connection: AsyncConnection[Any],
    listing: str,
    statement: LiteralString,
    filters: Mapping[str, Any],
    *,
    limit: int,
    cursor: str | None,
    by: str = "position",
    **values: Any,
) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of a page, newest first, and the next one's cursor: None where there is none.

    The statement takes the filters and the values by their names, `limit`, and `before`: the
    number, called `by` in the rows, that all of them are below. Raises Invalid where the cursor
    was not given out by this listing with these filters.
    """
    known = scope(listing, *filters.values())
    place = place_of(cursor, known)
    before = FROM_THE_NEWEST if place is None else int(place)
    # One more tells whether there is more.
    asked = {**filters, **values, "before": before, "limit": limit + 1}
    rows = await rows_of(connection, statement, asked)
    following = cursor_at(rows[limit - 1][by], known) if len(rows) > limit else None
    return rows[:limit], following


def _checksum(scope: str, place: str) -> str:
    text = f"{scope}\n{place}"
    return blake2b(text.encode(), digest_size=8, key=b"creditledger cursor").hexdigest()
