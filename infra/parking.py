"""Parked deliveries, and when they are tried again: as soon as there is news that they wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Final

from psycopg import Connection
from psycopg.rows import TupleRow

from creditledger.infra.database import Pool
from creditledger.infra.delivery import Taken
from creditledger.infra.delivery_table import TRY_AGAIN
from creditledger.infra.event_log import reaching
from creditledger.projections.arrays import text_array, uuid_array

# Parked deliveries for which there is news since they were parked: of all, or of those that are
# named. What somebody else holds is being freed. The aggregate has the events of a stream found by
# that stream; without it, all that came after a position may be searched for each.
_FREE: Final = """
    UPDATE webhook_deliveries
    SET {again}
    WHERE delivery_id = ANY (ARRAY(
        SELECT delivery_id
        FROM webhook_deliveries
        WHERE status = 'parked'
          AND awaits <> '{{}}'
          AND {which}
          AND EXISTS (
              SELECT FROM unnest(awaits) AS awaited (stream)
              CROSS JOIN LATERAL (
                  SELECT bool_or(notification_id > seen_position) AS changed
                  FROM ledger_events
                  WHERE originator_id = stream
              ) AS log
              WHERE log.changed
          )
        FOR UPDATE SKIP LOCKED
    ))
"""

_FREE_ALL: Final = _FREE.format(which="true", again=TRY_AGAIN)
_FREE_NAMED: Final = _FREE.format(which="delivery_id = ANY (%s::text[])", again=TRY_AGAIN)

# Whatever awaits one of these streams.
_AWAITING: Final = """
    SELECT delivery_id FROM webhook_deliveries WHERE awaits && %s::uuid[] AND awaits <> '{}'
"""

# Where something happened after a position, up to another.
_CHANGED: Final = """
    SELECT DISTINCT originator_id
    FROM ledger_events
    WHERE notification_id > %s AND notification_id <= %s
"""

# How much is parked, counted up to a limit.
_PARKED: Final = """
    SELECT count(*)
    FROM (SELECT FROM webhook_deliveries WHERE status = 'parked' AND awaits <> '{}' LIMIT %s) AS few
"""

_HEAD: Final = "SELECT coalesce(max(notification_id), 0) FROM ledger_events"

#: The indexes are to be used even where the table was never analysed.
_BY_INDEX: Final = "SET LOCAL enable_seqscan = off"

#: How often a worker looks through all that is parked: for those whose worker died just after it
#: had parked them, before it could see whether news had come meanwhile.
LOOK_THROUGH_SECONDS: Final = 60.0

#: More events than this are dearer to look at than all that is parked.
_EVENTS_MAX: Final = 20_000

#: Looking at one parked delivery takes no longer than looking at so many events.
_EVENTS_PER_PARKED: Final = 8


class Parking:
    """One worker's look-out for news that parked deliveries wait for. For one thread.

    News is any event in a stream that a delivery waits for, past where the log stood when it was
    parked: so none is missed, whichever of the two came first. What it costs depends on how much
    is new or on how much is parked, whichever is less: all that is parked is looked through where
    it is little beside the news, by a worker that begins, and rarely otherwise.
    """

    def __init__(self, pool: Pool, clock: Callable[[], float] = monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._position = 0
        self._look_through_at = -inf
        self._just_parked: list[str] = []

    def parked(self, batch: Iterable[Taken]) -> None:
        """Take note of what was parked: its news may have been there before it was."""
        self._just_parked += [
            taken.delivery.delivery_id
            for taken in batch
            if taken.verdict is not None and taken.verdict.status == "parked"
        ]

    def free(self) -> int:
        """Let those be tried again for which there is news; return how many. Raises Unavailable."""
        with reaching(self._pool) as connection, connection.transaction():
            connection.execute(_BY_INDEX)
            freed, position = self._free(connection)
        self._just_parked = []
        self._position = position
        return freed

    def _free(self, connection: Connection[TupleRow]) -> tuple[int, int]:
        row = connection.execute(_HEAD).fetchone()
        assert row is not None
        position = int(row[0])
        now = self._clock()
        new = position - self._position
        if now >= self._look_through_at or new > _EVENTS_MAX or _parked_few(connection, new):
            freed = connection.execute(_FREE_ALL).rowcount
            self._look_through_at = now + LOOK_THROUGH_SECONDS
            return freed, position
        named = list(self._just_parked)
        if new > 0:
            changed = connection.execute(_CHANGED, (self._position, position)).fetchall()
            streams = uuid_array(stream for (stream,) in changed)
            named += (row[0] for row in connection.execute(_AWAITING, (streams,)))
        freed = connection.execute(_FREE_NAMED, (text_array(named),)).rowcount if named else 0
        return freed, position


def _parked_few(connection: Connection[TupleRow], new: int) -> bool:
    """Whether all that is parked is looked through sooner than so many new events."""
    few = new // _EVENTS_PER_PARKED
    row = connection.execute(_PARKED, (few + 1,)).fetchone() if few else None
    return row is not None and int(row[0]) <= few
