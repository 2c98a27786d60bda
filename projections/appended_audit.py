"""Compares rows that are only ever added with the log, as bytes.

A proof need not hand the server rows that it has: it packs what should be there and takes in what
the server gives back, both in the binary form of COPY. Rows come as they lie: sorting them would
take the server as long as reading them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection, sql

from creditledger.projections.copying import END, Packed, copied_out
from creditledger.projections.projection import AppendedProjection, Recorded


class AppendedAudit:
    """What one read model should hold, against what it holds, some streams after others.

    `tables` are its tables.
    """

    def __init__(
        self,
        connection: Connection[Any],
        projection: AppendedProjection,
        tables: Sequence[sql.Identifier],
    ) -> None:
        self._connection = connection
        self._projection = projection
        self._tables = tables
        #: Rows that the streams since the last comparison should have, of each table.
        self._wanted: list[list[Packed]] = [[] for _ in tables]

    @property
    def rows(self) -> int:
        """How many rows the streams since the last comparison should have."""
        return sum(map(len, self._wanted))

    def build(self, events: Sequence[Recorded]) -> None:
        """Take in the next events, stream by stream, that the read model handles."""
        built = self._projection.rows(events)
        for wanted, (_, rows) in zip(self._wanted, built, strict=True):
            wanted.extend(rows)

    def agrees(self, within: sql.Composable) -> bool:
        """Whether the rows within these streams are, byte for byte, those of their events.

        Begins anew with the next streams.
        """
        wanted, self._wanted = self._wanted, [[] for _ in self._tables]
        return all(
            self._has(table, within, rows) for table, rows in zip(self._tables, wanted, strict=True)
        )

    def _has(self, table: sql.Identifier, within: sql.Composable, wanted: list[Packed]) -> bool:
        """Whether a table has these rows, each of them once, and no others."""
        missing = {*wanted, END}
        different, found = len(missing), 0
        select = sql.SQL("SELECT * FROM {} WHERE {}").format(table, within)
        for row in copied_out(self._connection, select):
            missing.discard(row)
            found += 1
        return not missing and found == different == len(wanted) + 1
