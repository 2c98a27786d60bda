"""The books: the aggregates that commands are decided on, and what was decided so far.

One thread uses them. They outlive a batch, so that accounts in use need not be loaded again; what
another process writes meanwhile is learned from the log, or shows as a conflict when the batch is
saved: where the log has grown, the versions of all streams touched are checked there, also of those
only read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from creditledger.domain import ids, snapshots
from creditledger.domain.account import CreditAccount
from creditledger.domain.aggregate import Aggregate
from creditledger.domain.events import Context, Event
from creditledger.domain.ids import EventRef
from creditledger.domain.policies import Policies
from creditledger.domain.store import Expectation, LedgerStore, News, Snapshot, Stream
from creditledger.domain.trails import Trail

A = TypeVar("A", bound=Aggregate)
V = TypeVar("V", bound=Event)

#: What time does has no command behind it.
TIME: Final = Context("system:time", "time", "time")

#: Events of an account from one snapshot to the next: enough that saving them costs little beside
#: the events, few enough that a process that has just started loads thousands of accounts a second.
SNAPSHOT_INTERVAL: Final = 20

#: After so many events of all accounts, or with so many accounts due, what is due is saved: that is
#: a transaction of its own.
SNAPSHOTS_SAVED_EVERY: Final = 1_000


class WrongStream(Exception):
    """A stream is another kind's: an id was made up that leads there."""


class Books:
    """Aggregates by their streams, loaded as needed; `record` is the only way to change them."""

    def __init__(self, store: LedgerStore, policies: Policies, *, cache_limit: int) -> None:
        self.policies = policies
        self.pending: list[Event] = []
        #: The account that the command is about, for its receipt.
        self.subject: CreditAccount | None = None
        self._store = store
        self._cache_limit = cache_limit
        self._kept: OrderedDict[UUID, Aggregate] = OrderedDict()
        self._loaded: dict[UUID, Stream] = {}
        #: What was at hand when there was more news than was told: only what followed is loaded.
        self._outdated: OrderedDict[UUID, Aggregate] = OrderedDict()
        self._versions: dict[UUID, int] = {}
        #: Streams that may be due for a snapshot, and events since any was saved.
        self._long: set[UUID] = set()
        self._events_since_snapshots = 0
        #: Trails of holds that end: nothing more will happen there.
        self._ending: set[UUID] = set()
        self._trial: dict[UUID, Aggregate] | None = None
        self._now: datetime = datetime.min.replace(tzinfo=UTC)
        self._context = TIME
        self._touched: set[UUID] = set()

    # One command's turn.

    def turn(self, now: datetime, context: Context, touched: set[UUID]) -> None:
        """Begin with the next command: its moment, who wished it, and where to note streams."""
        self._now, self._context = now, context
        self.pending = []
        self._touched = touched
        self.subject = None

    def now(self, aggregate: Aggregate) -> datetime:
        """The command's moment, never earlier than what the aggregate has reached."""
        last = aggregate.reached
        return self._now if last is None or last <= self._now else last

    def get(self, kind: type[A], stream: UUID) -> A:
        """The aggregate of a stream; a new one where nothing is stored.

        Raises WrongStream where the stream is another kind's.
        """
        aggregate = self._kept.get(stream)
        if aggregate is None:
            aggregate = self._load(kind, stream)
        else:
            self._kept.move_to_end(stream)
        if not isinstance(aggregate, kind):
            if aggregate.version:
                raise WrongStream(f"the stream {stream} is no {kind.__name__}")
            # Nothing stands there yet: somebody asked for it by an id that he made up.
            aggregate = self._kept[stream] = kind(stream)
        self._touched.add(stream)
        self._versions.setdefault(stream, aggregate.version)
        if self._trial is not None and stream not in self._trial:
            self._trial[stream] = aggregate.copy()
        return aggregate

    def account(self, customer_id: str, asset: str) -> CreditAccount:
        """A customer's account of an asset, new where it has no events."""
        account = self.get(CreditAccount, ids.account_id(customer_id, asset))
        if account.version == 0:
            account.customer_id, account.asset = customer_id, asset
        if self.subject is None:
            self.subject = account
        return account

    def account_of(self, ref: EventRef | None) -> CreditAccount | None:
        """The account that an id points into, or None where there is none."""
        if ref is None:
            return None
        try:
            account = self.get(CreditAccount, ref.stream)
        except WrongStream:
            return None
        if account.version < ref.version:
            return None
        if self.subject is None:
            self.subject = account
        return account

    def trail(self, subject: str, *, fresh: bool = False) -> Trail:
        """What became of a grant, hold or deduction; `fresh` where it cannot have begun yet."""
        stream = ids.trail_id(subject)
        if fresh:
            self._ending.add(stream)
            if stream not in self._kept:
                # An open hold's trail is empty, so a look in the store would find nothing.
                self._kept[stream] = Trail(stream)
        return self.get(Trail, stream)

    def event(self, kind: type[V], ref: EventRef) -> V | None:
        """The event at that place, where it is of this kind."""
        for event in self.pending:
            if (event.originator_id, event.originator_version) == ref:
                return event if isinstance(event, kind) else None
        found = self._unsaved().get(ref) or self._past.get(ref) or self._stored(ref)
        return found if isinstance(found, kind) else None

    def record(
        self, aggregate: Aggregate, kind: type[V], *, context: Context | None = None, **fields: Any
    ) -> V:
        """Let a fact happen: build the event, change the aggregate, keep it for saving."""
        fields.update(aggregate.identity())
        event = kind(
            originator_id=aggregate.id,
            originator_version=aggregate.version + 1,
            recorded_at=self.now(aggregate),
            context=context or self._context,
            **fields,
        )
        aggregate.apply(event)
        aggregate.seal(event)
        self.pending.append(event)
        if aggregate.version - aggregate.snapshot_version >= SNAPSHOT_INTERVAL:
            self._long.add(aggregate.id)
        return event

    # Trials: what must leave no trace if it comes to nothing.

    def try_out(self) -> None:
        """From here on, `undo` can bring all aggregates back to where they are now."""
        self._trial = {}

    def undo(self) -> None:
        """Bring the aggregates back to where they were at `try_out`."""
        for stream, aggregate in (self._trial or {}).items():
            self._kept[stream] = aggregate
        self._trial = None

    def settle_trial(self) -> None:
        """Let what was tried out stand."""
        self._trial = None

    # One batch of commands.

    #: Events decided on and not saved yet: those that were looked for by their ids, and since.
    _recent: dict[EventRef, Event]
    _decided: list[Event]
    #: Events that were saved before the batch began, and that it will look at.
    _past: dict[EventRef, Event]

    @property
    def at_hand(self) -> Collection[UUID]:
        """The streams that need not be loaded."""
        return _Streams(self._kept, self._loaded)

    def learn(self, news: News) -> None:
        """Let what others have written happen here, too; what cannot follow is loaded anew."""
        if news.changed is None:
            # Where nothing stood, any kind of stream may have begun.
            self._outdated.update(kept for kept in self._kept.items() if kept[1].version)
            self._kept.clear()
            self._loaded.clear()
            return
        for stream, events in news.changed.items():
            self._loaded.pop(stream, None)
            aggregate = self._kept.get(stream)
            if aggregate is not None and not _caught_up(aggregate, events):
                del self._kept[stream]

    def let_go(self) -> None:
        """Have nothing at hand any more."""
        for at_hand in (self._kept, self._loaded, self._outdated):
            at_hand.clear()

    def begin(self, streams: Collection[UUID]) -> None:
        """Begin with a batch, and load what it will need with one query."""
        self._versions = {}
        self._recent = {}
        self._decided = []
        self._past = {}
        self.fetch(streams)

    def look(self, kind: type[A], stream: UUID) -> A:
        """The aggregate of a stream as it is at hand, for a forecast: nothing may rest on it."""
        aggregate = self._kept.get(stream)
        if aggregate is None and stream in self._loaded:
            with suppress(WrongStream):
                aggregate = self._load(kind, stream)
        return aggregate if isinstance(aggregate, kind) else kind(stream)

    def foresee(self, grant_ids: Collection[str]) -> None:
        """Load what commands about these grants will need, with two queries."""
        parsed = {grant_id: ids.parse_event_id(ids.GRANT, grant_id) for grant_id in grant_ids}
        refs = {grant_id: ref for grant_id, ref in parsed.items() if ref is not None}
        if refs:
            self.fetch({ref.stream for ref in refs.values()} | {ids.trail_id(id_) for id_ in refs})
            self._past.update(self._store.events(list(refs.values())))

    def fetch(self, streams: Iterable[UUID]) -> None:
        """Load those that are not at hand, with one query."""
        cold = [s for s in streams if s not in self._kept and s not in self._loaded]
        if cold:
            outdated = self._outdated
            seen = {stream: outdated[stream].version for stream in cold if stream in outdated}
            found = self._store.load(cold, seen)
            self._loaded.update((stream, found.get(stream, _EMPTY)) for stream in cold)

    def have(self, accounts: Collection[UUID]) -> None:
        """Have these accounts at hand, loaded with one query."""
        self.fetch(accounts)
        for stream in accounts:
            self.look(CreditAccount, stream)
        self.shrink()

    def remember(self, events: Iterable[Event]) -> None:
        """Find these events by their ids although they are not saved yet."""
        self._decided.extend(events)

    @property
    def versions(self) -> dict[UUID, int]:
        """The streams touched in this batch, each with its version when it was first touched."""
        return self._versions

    def expectations(self, events: Iterable[Event]) -> list[Expectation]:
        """What must not have changed: the streams that were read and that `events` do not write."""
        written = {event.originator_id for event in events}
        if len(written) == len(self._versions):
            return []
        return [
            Expectation(stream, version)
            for stream, version in self._versions.items()
            if stream not in written
        ]

    def forget(self, streams: Iterable[UUID]) -> None:
        """Load these anew when they are needed again, and find none of their unsaved events."""
        gone = set(streams)
        for stream in gone:
            self._kept.pop(stream, None)
            self._loaded.pop(stream, None)
            self._outdated.pop(stream, None)
            self._versions.pop(stream, None)
        recent = self._unsaved().items()
        self._recent = {ref: event for ref, event in recent if ref.stream not in gone}
        self._trial = None

    def abandon(self) -> None:
        """Load anew what the batch touched: nothing of it is saved."""
        self.forget(list(self._versions))
        self._loaded = {}

    def due_snapshots(self, saved_events: int) -> list[Snapshot]:
        """States worth keeping now that so many more events are saved; each is told once."""
        self._events_since_snapshots += saved_events
        if max(self._events_since_snapshots, len(self._long)) < SNAPSHOTS_SAVED_EVERY:
            return []
        self._events_since_snapshots = 0
        due = []
        for stream in self._long:
            account = self._kept.get(stream)
            if not isinstance(account, CreditAccount):
                continue
            # A large state is saved more rarely, so that its cost a command stays the same.
            interval = max(SNAPSHOT_INTERVAL, len(account.lots) + len(account.holds))
            if account.version - account.snapshot_version >= interval:
                account.snapshot_version = account.version
                due.append(snapshots.take(account))
        self._long = set()
        return due

    def shrink(self) -> None:
        """Let go of what is over, and past the cache's limit of what was used longest ago."""
        for stream in self._ending:
            self._kept.pop(stream, None)
        self._ending.clear()
        while len(self._kept) > self._cache_limit:
            self._kept.popitem(last=False)
        while self._outdated and len(self._kept) + len(self._outdated) > self._cache_limit:
            self._outdated.popitem(last=False)
        self._loaded = {}

    def _unsaved(self) -> dict[EventRef, Event]:
        """Events by where they will stand; most are never looked for, so this is put off."""
        for event in self._decided:
            self._recent[EventRef(event.originator_id, event.originator_version)] = event
        self._decided.clear()
        return self._recent

    def _stored(self, ref: EventRef) -> Event | None:
        return self._store.events([ref]).get(ref)

    def _load(self, kind: type[A], stream: UUID) -> Aggregate:
        self.fetch([stream])
        stored, outdated = self._loaded.pop(stream), self._outdated.pop(stream, None)
        aggregate = rebuild(kind, stream, stored, outdated)
        self._kept[stream] = aggregate
        if aggregate.version - aggregate.snapshot_version >= SNAPSHOT_INTERVAL:
            self._long.add(stream)
        return aggregate


_EMPTY: Final = Stream(None, ())


class _Streams(Collection[UUID]):
    """The keys of two mappings that have none in common."""

    def __init__(self, kept: Mapping[UUID, object], loaded: Mapping[UUID, object]) -> None:
        self._kept, self._loaded = kept, loaded

    def __contains__(self, stream: object) -> bool:
        return stream in self._kept or stream in self._loaded

    def __iter__(self) -> Iterator[UUID]:
        yield from self._kept
        yield from self._loaded

    def __len__(self) -> int:
        return len(self._kept) + len(self._loaded)


def _caught_up(aggregate: Aggregate, events: Sequence[Event]) -> bool:
    """Apply those of the events that the aggregate has not seen; False where they do not follow."""
    version = aggregate.version
    for event in events:
        if event.originator_version > version:
            # Where nothing stood when it was looked at, another kind's stream may have begun.
            if event.originator_version != version + 1 or not isinstance(event, aggregate.EVENTS):
                return False
            aggregate.apply(event)
            version += 1
    return bool(events)


def rebuild(
    kind: type[A], stream: UUID, stored: Stream, outdated: Aggregate | None = None
) -> Aggregate:
    """The aggregate that follows from what is stored of its stream; raises WrongStream.

    From what is stored after the `outdated` one, where that is at hand; it may be the same object.
    """
    if stored.events and not isinstance(stored.events[0], kind.EVENTS):
        raise WrongStream(f"the stream {stream} is no {kind.__name__}")
    aggregate = outdated
    if stored.snapshot is not None:
        aggregate = snapshots.restore(stored.snapshot)
    if aggregate is None:
        aggregate = kind(stream)
    for event in stored.events:
        aggregate.apply(event)
    return aggregate
