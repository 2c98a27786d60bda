"""Compares rows that are only ever added with the log, as bytes.

A proof need not hand the server rows that it has: it packs what should be there and takes in what
the server gives back, both in the binary form of COPY, and compares their digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from psycopg import Connection, sql

from creditledger.projections.copying import END, HEADER, copied_out
from creditledger.projections.projection import AppendedProjection, Recorded


class AppendedAudit:
    """What one read model should hold, against what it holds, some streams after others.

    `places` are its tables, with the columns of their primary keys.
    """

    def __init__(
        self,
        connection: Connection[Any],
        projection: AppendedProjection,
        places: Sequence[tuple[sql.Identifier, Sequence[str]]],
    ) -> None:
        #: Rows that the streams since the last comparison should have.
        self.rows = 0
        self._connection = connection
        self._projection = projection
        self._places = places
        self._begin()

    def build(self, events: Sequence[Recorded]) -> None:
        """Take in the next events, stream by stream, that the read model handles."""
        built = self._projection.rows(events)
        for digest, (_, rows) in zip(self._digests, built, strict=True):
            self.rows += len(rows)
            digest.update(b"".join(rows))

    def agrees(self, within: sql.Composable) -> bool:
        """Whether the rows within these streams are, byte for byte, those of their events.

        Begins anew with the next streams.
        """
        wanted = self._digests
        self._begin()
        for digest in wanted:
            digest.update(END)
        return all(
            self._found(place, key, within) == digest.digest()
            for digest, (place, key) in zip(wanted, self._places, strict=True)
        )

    def _begin(self) -> None:
        self.rows = 0
        self._digests = [sha256(HEADER) for _ in self._places]

    def _found(self, place: sql.Identifier, key: Sequence[str], within: sql.Composable) -> bytes:
        event = (self._projection.stream_column, "version")
        order = (*event, *(column for column in key if column not in event))
        rows = sql.SQL("SELECT * FROM {} WHERE {} ORDER BY {}").format(
            place, within, sql.SQL(", ").join(map(sql.Identifier, order))
        )
        digest = sha256()
        for piece in copied_out(self._connection, rows):
            digest.update(piece)
        return digest.digest()
