"""Cursors: where the next page of a listing begins, in a text that only its own listing accepts.

A cursor carries a checksum over the listing and its filters. It guards nothing secret (a listing
shows nothing else from another place on), so its key need not be one; it lets a text that was
changed, or that belongs to another listing, be refused instead of answered with a wrong page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from creditledger.domain.errors import Invalid

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


def position_of(cursor: str | None, scope: str) -> int:
    """Before which position the page begins; past all of them for the first page.

    Raises Invalid where the cursor was not given out by this listing with these filters.
    """
    place = place_of(cursor, scope)
    return FROM_THE_NEWEST if place is None else int(place)


def cursor_at(place: object, scope: str) -> str:
    """The cursor of the page that begins after a place: digits, small letters and points."""
    return f"{place}-{_checksum(scope, str(place))}"


def next_cursor(
    rows: Sequence[Mapping[str, Any]], limit: int, scope: str, *, by: str = "position"
) -> str | None:
    """The cursor after the first `limit` rows; None where there are no more than those."""
    return cursor_at(rows[limit - 1][by], scope) if len(rows) > limit else None


def _checksum(scope: str, place: str) -> str:
    text = f"{scope}\n{place}"
    return blake2b(text.encode(), digest_size=8, key=b"creditledger cursor").hexdigest()
