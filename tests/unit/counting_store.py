"""Two ledgers on one store, which tells what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.commands import Command
from creditledger.domain.events import Event
from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import ACCEPTED, Receipt, Wish
from creditledger.domain.store import NONE_SEEN, Conflict, Expectation, LogEnd, News, Stream
from memory_store import MemoryStore
from proofs import replayed


class CountingStore(MemoryStore):
    """A store that counts how often somebody else was first, and what it was asked to load."""

    def __init__(self) -> None:
        super().__init__()
        self.conflicts = 0
        self.loaded: list[set[UUID]] = []
        self.loaded_events = self.loaded_snapshots = 0
        #: What is done once, before somebody gets the next turn.
        self.before_turn: Callable[[], object] | None = None

    def load(
        self, streams: Collection[UUID], seen: Mapping[UUID, int] = NONE_SEEN
    ) -> Mapping[UUID, Stream]:
        self.loaded.append(set(streams))
        found = super().load(streams, seen)
        self.loaded_events += sum(len(stream.events) for stream in found.values())
        self.loaded_snapshots += sum(stream.snapshot is not None for stream in found.values())
        return found

    @contextmanager
    def turn(self, seen: LogEnd | None, wanted: Collection[UUID]) -> Iterator[News]:
        do, self.before_turn = self.before_turn, None
        if do is not None:
            do()
        with super().turn(seen, wanted) as news:
            yield news

    def append(
        self,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        try:
            return super().append(events, receipts, expectations, seen)
        except Conflict:
            self.conflicts += 1
            raise


def wishes(*commands: Command) -> list[Wish]:
    """Wishes of one client, without keys."""
    return [
        Wish(command=each, actor="client:shop", client_id="shop", key=None) for each in commands
    ]


def tell(ledger: Ledger, *commands: Command) -> list[Receipt]:
    """Have these decided and saved, all of which are accepted."""
    told = []
    for outcome in ledger.handle(wishes(*commands)):
        assert isinstance(outcome, Receipt)
        assert outcome.outcome == ACCEPTED, outcome
        told.append(outcome)
    return told


def available(store: CountingStore, customer: str) -> int:
    """What a customer can spend, by the events stored."""
    stream = ids.account_id(customer, "credits")
    return replayed(store.streams[stream], stream).available
