"""Keeps read models up with the log: one thread of a worker runs all that the worker leads.

Whoever holds a projection's advisory lock leads it; the others stand by and take over when its
connection is gone. The leader listens for news before its first read, so that nothing slips
through between the two, and looks by itself twice a second, because notifications can be lost.

Projections that stand at the same position go on together: the log is read once for all of them,
and their rows and checkpoints are written in one transaction. One that cannot get past an event is
stopped by itself, and the others go on without it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event as Signal
from threading import Thread
from typing import Any, Final, Protocol

from psycopg import Connection, Cursor, InterfaceError, OperationalError, sql

from creditledger.domain import ids
from creditledger.domain.store import Unavailable
from creditledger.projections import checkpoints
from creditledger.projections.projection import Projection, Recorded

_log = logging.getLogger("creditledger.projections")

Connect = Callable[[], Connection[Any]]

#: Enough that a transaction's own cost vanishes, few enough to be through within a second.
BATCH: Final = 5_000

#: How long news may go unnoticed where its notification is lost; how often a worker tries to take
#: over what others lead, and looks whether somebody has moved, stopped or started a projection.
_LOOK_SECONDS: Final = 0.5

#: After each pass a worker rests for a moment, longer the more there was to do: under load few
#: passes then carry many events each, and leave the processor to the commands. One that finds a
#: single event is hardly held up. A pass of 1,000 events takes a fifth less for each of them than
#: one of 300; half of that is gained here, because readers wait for what they have written.
_REST_SECONDS_PER_EVENT: Final = 0.002
_REST_SECONDS_MAX: Final = 0.1

_RETRY_SECONDS_MIN: Final = 0.1
_RETRY_SECONDS_MAX: Final = 5.0

# Leadership of projections of this schema, as far as nobody else has it.
_LEAD: Final = """
    SELECT name FROM unnest(%(names)s::text[]) AS name
    WHERE pg_try_advisory_lock(hashtextextended(current_schema() || '/projections/' || name, 0))
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


def prepare(connection: Connection[Any]) -> None:
    """Set a session up for handlers.

    They find rows by key alone, so plans are good that begin with an index, whatever is known of
    the tables' sizes. What a crash loses of a read model comes again from the log, so no commit
    waits for the disk.
    """
    connection.execute("SET synchronous_commit = off")
    for way in ("seqscan", "hashjoin", "mergejoin"):
        connection.execute(sql.SQL("SET {} = off").format(sql.Identifier(f"enable_{way}")))


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
    """Runs projections until it is told to stop. A stopped one waits to be started again."""

    def __init__(self, projections: Sequence[Projection], connect: Connect, log: Log) -> None:
        self._projections = {projection.name: projection for projection in projections}
        self._connect = connect
        self._log = log
        self._led_before: set[str] = set()
        self._retry_seconds = _RETRY_SECONDS_MIN

    def run(self, signal: Signal) -> None:
        """Lead or stand by until the signal is set; trouble with the database is waited out."""
        while not signal.is_set():
            try:
                with self._connect() as connection:
                    self._serve(connection, signal)
            except Exception as fault:  # noqa: BLE001 - whatever it is, a worker goes on trying
                passing = isinstance(fault, PASSING)
                level = logging.WARNING if passing else logging.ERROR
                _log.log(level, "projections: %s", fault, exc_info=not passing)
                signal.wait(self._retry_seconds)
                self._retry_seconds = min(2 * self._retry_seconds, _RETRY_SECONDS_MAX)

    def _serve(self, connection: Connection[Any], signal: Signal) -> None:
        prepare(connection)
        connection.execute("LISTEN ledger_events")
        led: list[Projection] = []
        while not signal.is_set():
            led += self._take_over(
                [p for p in self._projections.values() if p not in led], connection
            )
            self._follow(connection, self._running(connection, led), signal)

    def _take_over(
        self, others: Sequence[Projection], connection: Connection[Any]
    ) -> list[Projection]:
        """Lead what nobody leads; a worker gives a projection that was stopped another try."""
        names = {"names": [projection.name for projection in others]}
        taken = [self._projections[name] for (name,) in connection.execute(_LEAD, names)]
        for projection in taken:
            checkpoints.enlist(connection, projection)
            if projection.name not in self._led_before:
                checkpoints.start(connection, projection.name)
                self._led_before.add(projection.name)
        return taken

    def _running(
        self, connection: Connection[Any], led: Sequence[Projection]
    ) -> dict[Projection, int]:
        """Those that run, with their positions; one whose rows another version built is stopped."""
        running = {}
        for projection in led:
            mark = checkpoints.checkpoint(connection, projection.name)
            if mark.status == "running" and mark.version != projection.version:
                _stop_outdated(connection, projection, mark)
            elif mark.status == "running":
                running[projection] = mark.position
        return running

    def _follow(
        self, connection: Connection[Any], running: dict[Projection, int], signal: Signal
    ) -> None:
        """Handle what the log holds and wait for more, until it is time to look around again."""
        together = Convoy(connection, self._log, running)
        look_at = time.monotonic() + _LOOK_SECONDS
        while not signal.is_set() and not together.disturbed:
            handled = together.go_on()
            self._retry_seconds = _RETRY_SECONDS_MIN
            left_seconds = look_at - time.monotonic()
            if left_seconds <= 0:
                return
            if handled:
                signal.wait(min(handled * _REST_SECONDS_PER_EVENT, _REST_SECONDS_MAX))
                left_seconds = 0
            for _ in connection.notifies(timeout=left_seconds, stop_after=1):
                pass


class Convoy:
    """Projections that go through the log, those at the same position together."""

    def __init__(
        self, connection: Connection[Any], log: Log, positions: dict[Projection, int]
    ) -> None:
        #: Somebody else has moved or stopped one of them, or an event has.
        self.disturbed = False
        self._connection = connection
        self._log = log
        self._positions = positions

    def go_on(self) -> int:
        """Let each handle one more batch; return how many events the furthest ones handled.

        Those behind go first, no further than to those before them, and join them there.
        """
        handled = 0
        places = sorted(set(self._positions.values()))
        for number, after in enumerate(places, 1):
            group = [projection for projection, at in self._positions.items() if at == after]
            limit = BATCH if number == len(places) else min(BATCH, places[number] - after)
            try:
                reached = self._go_together(group, after, limit)
            except PASSING:
                raise
            except Exception:  # noqa: BLE001 - whatever is wrong, it is looked for one by one
                _log.warning("a batch after position %d failed", after, exc_info=True)
                for projection in group:
                    self._go_alone(projection, after, limit)
            else:
                handled = reached - after
        return handled

    def _go_together(self, group: Sequence[Projection], after: int, limit: int) -> int:
        page = self._log.read(after, limit)
        if page.position == after:
            return after
        with self._connection.transaction(), self._connection.cursor() as cursor:
            # First of all, because it keeps a rebuild from swapping tables under the handlers.
            claimed = checkpoints.claim(cursor, group, after=after, to=page.position)
            for projection in group:
                if projection.name in claimed:
                    concerned = projection.concerning(page.events)
                    if concerned:
                        projection.handle(cursor, concerned)
        for projection in group:
            if projection.name in claimed:
                self._positions[projection] = page.position
            else:
                self._leave(projection)
        return page.position

    def _go_alone(self, projection: Projection, after: int, limit: int) -> None:
        def claim(cursor: Cursor[Any], after: int, to: int) -> bool:
            return bool(checkpoints.claim(cursor, [projection], after=after, to=to))

        try:
            self._positions[projection] = advance(
                self._connection, projection, self._log, claim, after=after, limit=limit
            )
        except Moved:
            self._leave(projection)
        except PoisonedEvent as poison:
            _log.error("%s", poison)
            checkpoints.stop(
                self._connection,
                projection.name,
                error=str(poison),
                position=poison.position,
                event_id=poison.event_id,
            )
            self._leave(projection)

    def _leave(self, projection: Projection) -> None:
        del self._positions[projection]
        self.disturbed = True


def _stop_outdated(
    connection: Connection[Any], projection: Projection, mark: checkpoints.Checkpoint
) -> None:
    name = projection.name
    error = (
        f"the rows of {name} were built by version {mark.version} of it, and this is version "
        f"{projection.version}: run `creditledger projections rebuild {name}`"
    )
    _log.error("%s", error)
    checkpoints.stop(connection, name, error=error, position=mark.position, event_id=None)


def start_all(
    projections: Sequence[Projection], connect: Connect, log: Log, signal: Signal
) -> Thread:
    """Start the thread that runs these; it ends soon after the signal is set."""
    thread = Thread(
        target=Runner(projections, connect, log).run, args=(signal,), name="projections"
    )
    thread.start()
    return thread
