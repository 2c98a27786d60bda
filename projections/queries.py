"""What the queries of all read models share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row

_POSITION: Final = "SELECT coalesce(max(position), 0) FROM projections WHERE name = %(name)s"


async def rows_of(
    connection: AsyncConnection[Any], statement: LiteralString, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of one statement, as dicts by column.

    It is planned anew each time: which index serves depends on the filters that are set, and a
    plan that was kept from when the tables were small would scan them when they are large.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values, prepare=False)
        return await cursor.fetchall()


async def checkpoint_of(connection: AsyncConnection[Any], name: str) -> int:
    """Up to which position of the log a read model stands; 0 where it was never built."""
    row = await (await connection.execute(_POSITION, {"name": name})).fetchone()
    assert row is not None
    return int(row[0])
