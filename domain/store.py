"""The port behind which events and receipts are kept: `infra/event_store.py` is the real one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.receipt import Receipt
from creditledger.domain.values import value


class Conflict(Exception):
    """Somebody else wrote first: a stream has moved on, or a key was used. Nothing was saved."""


class Unavailable(Exception):
    """The store cannot be reached, or a commit's outcome is not known."""


@value()
class Snapshot:
    """An aggregate's saved state: it affects the cost of loading, never the meaning."""

    originator_id: UUID
    originator_version: int
    recorded_at: datetime
    state: Mapping[str, Any]


@value()
class Stream:
    """What is stored of one stream, from its latest usable snapshot on."""

    snapshot: Snapshot | None
    events: Sequence[Event]


#: The versions at which streams were seen, where none was.
NONE_SEEN: Final[Mapping[UUID, int]] = {}


@value()
class Expectation:
    """A stream that was only read, and the version at which it was read."""

    originator_id: UUID
    version: int


@value()
class LogEnd:
    """Where a log ended when it was read: its newest position, and when that event was recorded.

    By that time the log is told from another one (of a backup that was restored, of a standby that
    has taken over without the newest events), whatever was written to that since. An empty log
    ends at position 0, and has no time.
    """

    position: int
    recorded_at: datetime | None


@value()
class News:
    """What was appended to a log since it was last read: where it ends now, and which streams grew.

    Each stream comes with its new events in order, or without any where they cannot be read.
    `changed` is None where all that is known of the log is its end; then it may be `another` one
    than was read before.
    """

    end: LogEnd
    changed: Mapping[UUID, Sequence[Event]] | None
    another: bool = False


class LedgerStore(Protocol):
    """Events and receipts, saved together or not at all."""

    def load(
        self, streams: Collection[UUID], seen: Mapping[UUID, int] = NONE_SEEN
    ) -> Mapping[UUID, Stream]:
        """Streams from their snapshots on, in one query; missing ones are left out.

        Of those that were `seen` at a version, what follows it: from a later snapshot on where
        there is one; left out where nothing does.
        """

    def changed(self, versions: Mapping[UUID, int]) -> set[UUID]:
        """Those streams that hold events past the given versions."""

    def events(self, refs: Collection[EventRef]) -> Mapping[EventRef, Event]:
        """Single events by where they stand; missing ones are left out."""

    def receipts(self, receipt_ids: Collection[UUID]) -> Mapping[UUID, Receipt]:
        """Receipts by their ids; missing ones are left out."""

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        """Save it all in one transaction; return the log's newest position before it.

        The n-th event gets position `base + n`. Each receipt comes with the number of events up
        to and including its own, so its position is `base + number`. Raises Conflict where a
        stream has moved on, a receipt exists, or the log is another than the writer has `seen`;
        Unavailable where the outcome is unknown.

        `seen` is the end up to which the writer has followed the log, where it has: if that is
        its end still, no stream can have moved on, and none need be looked at.
        """

    def turn(self, seen: LogEnd | None, wanted: Collection[UUID]) -> AbstractContextManager[News]:
        """Until an append or the block ends, nobody else appends: what is read stays true.

        It begins with the news past the end that was `seen`, about the streams that are `wanted`;
        where nothing was seen, the log is another, or there is more than is worth reading for so
        many streams, its end alone is told. For the thread that enters it, which may do everything
        else meanwhile. Raises Unavailable where the others do not let it in; who takes seconds to
        go on loses the turn, and learns that as Unavailable.
        """

    def save_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Keep these states; a failure costs time later and nothing else."""
