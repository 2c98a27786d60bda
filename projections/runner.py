"""Keeps a read model up with the log: one thread for each projection, one owner at a time.

Whoever holds a projection's advisory lock leads it; the others stand by and take over when its
connection is gone. The leader listens for news before its first read, so that nothing slips
through between the two, and looks by itself once a second, because notifications can be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event as Signal
from threading import Thread
from typing import Any, Final, Protocol

from psycopg import Connection, Cursor, InterfaceError, OperationalError

from creditledger.domain import ids
from creditledger.domain.store import Unavailable
from creditledger.projections import checkpoints
from creditledger.projections.projection import Projection, Recorded

_log = logging.getLogger("creditledger.projections")

Connect = Callable[[], Connection[Any]]

#: Enough that a transaction's own cost vanishes, few enough to be through within a second.
BATCH: Final = 5_000

#: How long news may go unnoticed where its notification is lost.
_LOOK_SECONDS: Final = 0.5

#: How often one that stands by tries to take over.
_STAND_BY_SECONDS: Final = 0.5

_RETRY_SECONDS_MIN: Final = 0.1
_RETRY_SECONDS_MAX: Final = 5.0

# Leadership of one projection of this schema.
_LEAD: Final = """
    SELECT pg_try_advisory_lock(
        hashtextextended(current_schema() || '/projections/' || %(name)s, 0))
"""

#: Trouble that passes by itself; every other error is the event's or the handler's fault.
PASSING: Final = (OperationalError, InterfaceError, Unavailable)


class LogPage(Protocol):
    """A part of the log, up to `position`."""

    @property
    def events(self) -> Sequence[Recorded]:
        """Events with their positions, in order."""

    @property
    def position(self) -> int:
        """Where the next page begins."""


class Log(Protocol):
    """The log as a projection reads it."""

    def head(self) -> int:
        """The newest position."""

    def read(self, after: int, limit: int) -> LogPage:
        """The next events past a position."""


class PoisonedEvent(Exception):
    """A projection cannot get past this event."""

    def __init__(self, projection: str, position: int, event_id: str | None, fault: str) -> None:
        place = f"position {position} ({event_id or 'unreadable'})"
        super().__init__(f"{projection} cannot get past {place}: {fault}")
        self.position = position
        self.event_id = event_id


class Moved(Exception):
    """The checkpoint is not where it was left: somebody else has moved or stopped it."""


#: Moves a checkpoint from one position to another in the open transaction, if it stands there.
Claim = Callable[[Cursor[Any], int, int], bool]


def advance(
    connection: Connection[Any],
    projection: Projection,
    log: Log,
    claim: Claim,
    *,
    after: int,
    limit: int = BATCH,
) -> int:
    """Handle the next events and move the checkpoint, in one transaction; return its position.

    Where a batch fails, its events are tried one by one, so that all before the poisoned one are
    handled. Raises PoisonedEvent, and Moved where the claim is refused.
    """
    try:
        return _advance(connection, projection, log, claim, after=after, limit=limit)
    except (*PASSING, Moved):
        raise
    except Exception:  # noqa: BLE001 - whatever is wrong, it is looked for event by event
        _log.warning("%s: a batch after position %d failed", projection.name, after, exc_info=True)
    for _ in range(limit):
        try:
            reached = _advance(connection, projection, log, claim, after=after, limit=1)
        except (*PASSING, Moved):
            raise
        except Exception as fault:
            text = f"{type(fault).__name__}: {fault}"
            raise PoisonedEvent(projection.name, after + 1, _event_id(log, after), text) from fault
        if reached == after:
            break
        after = reached
    return after


def _advance(
    connection: Connection[Any],
    projection: Projection,
    log: Log,
    claim: Claim,
    *,
    after: int,
    limit: int,
) -> int:
    page = log.read(after, limit)
    if page.position == after:
        return after
    concerned = projection.concerning(page.events)
    with connection.transaction(), connection.cursor() as cursor:
        # First of all, because it keeps a rebuild from swapping the tables under the handler.
        if not claim(cursor, after, page.position):
            raise Moved
        if concerned:
            projection.handle(cursor, concerned)
    return page.position


def _event_id(log: Log, after: int) -> str | None:
    """The id of the event that follows, where it can be read at all."""
    try:
        ((_, event),) = log.read(after, 1).events
    except Exception:  # noqa: BLE001 - what cannot be read has no id to tell
        return None
    return ids.event_id(ids.EVENT, ids.stream_key(event.originator_id), event.originator_version)


class Runner:
    """Runs one projection until it is told to stop. A stopped one waits to be started again."""

    def __init__(self, projection: Projection, connect: Connect, log: Log) -> None:
        self._projection = projection
        self._connect = connect
        self._log = log
        self._led_before = False
        self._retry_seconds = _RETRY_SECONDS_MIN

    def run(self, signal: Signal) -> None:
        """Lead or stand by until the signal is set; trouble with the database is waited out."""
        while not signal.is_set():
            try:
                with self._connect() as connection:
                    self._serve(connection, signal)
            except Exception as fault:  # noqa: BLE001 - a projection never takes others with it
                passing = isinstance(fault, PASSING)
                level = logging.WARNING if passing else logging.ERROR
                _log.log(level, "%s: %s", self._projection.name, fault, exc_info=not passing)
                signal.wait(self._retry_seconds)
                self._retry_seconds = min(2 * self._retry_seconds, _RETRY_SECONDS_MAX)

    def _serve(self, connection: Connection[Any], signal: Signal) -> None:
        # What a crash loses of a read model comes again from the log, so no commit waits for the
        # disk; and plans from when a table was small would not do when it is large.
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET plan_cache_mode = force_custom_plan")
        while not self._lead(connection):
            if signal.wait(_STAND_BY_SECONDS):
                return
        connection.execute("LISTEN ledger_events")
        self._begin(connection)
        while not signal.is_set():
            mark = checkpoints.checkpoint(connection, self._projection.name)
            if mark.status == "running" and mark.version != self._projection.version:
                self._stop_outdated(connection, mark)
            elif mark.status == "running":
                self._follow(connection, mark.position, signal)
            else:
                for _ in connection.notifies(timeout=_LOOK_SECONDS):
                    pass

    def _lead(self, connection: Connection[Any]) -> bool:
        row = connection.execute(_LEAD, {"name": self._projection.name}).fetchone()
        return row is not None and bool(row[0])

    def _begin(self, connection: Connection[Any]) -> None:
        """A worker that starts gives a stopped projection another try."""
        checkpoints.enlist(connection, self._projection)
        if not self._led_before:
            checkpoints.start(connection, self._projection.name)
            self._led_before = True

    def _follow(self, connection: Connection[Any], position: int, signal: Signal) -> None:
        """Handle what the log holds and wait for more, until the projection is moved or stopped."""
        while not signal.is_set():
            try:
                reached = advance(
                    connection, self._projection, self._log, self._claim, after=position
                )
            except Moved:
                return
            except PoisonedEvent as poison:
                _log.error("%s", poison)
                checkpoints.stop(
                    connection,
                    self._projection.name,
                    error=str(poison),
                    position=poison.position,
                    event_id=poison.event_id,
                )
                return
            self._retry_seconds = _RETRY_SECONDS_MIN
            wait_seconds = _LOOK_SECONDS if reached == position else 0
            for _ in connection.notifies(timeout=wait_seconds, stop_after=1):
                pass
            position = reached

    def _claim(self, cursor: Cursor[Any], after: int, to: int) -> bool:
        return checkpoints.claim(cursor, self._projection, after=after, to=to)

    def _stop_outdated(self, connection: Connection[Any], mark: checkpoints.Checkpoint) -> None:
        name = self._projection.name
        error = (
            f"the rows of {name} were built by version {mark.version} of it, and this is version "
            f"{self._projection.version}: run `creditledger projections rebuild {name}`"
        )
        checkpoints.stop(connection, name, error=error, position=mark.position, event_id=None)


def start_all(
    projections: Sequence[Projection], connect: Connect, log: Log, signal: Signal
) -> list[Thread]:
    """Start a thread for each projection; they end soon after the signal is set."""
    threads = [
        Thread(
            target=Runner(projection, connect, log).run,
            args=(signal,),
            name=f"projection {projection.name}",
        )
        for projection in projections
    ]
    for thread in threads:
        thread.start()
    return threads
