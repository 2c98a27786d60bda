"""Hundreds of seeds hold, each can be played again, and bugs would be found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from psycopg import Cursor

from creditledger.consumers import runner
from creditledger.domain import waiting
from creditledger.domain.books import Books
from creditledger.domain.events import Event
from creditledger.domain.ledger import Ledger
from creditledger.domain.product import Product
from creditledger.domain.receipt import Outcome, Receipt
from creditledger.domain.store import Expectation, LogEnd, Unavailable
from creditledger.domain.turns import Turns
from creditledger.infra import group_commit
from creditledger.projections import checkpoints
from creditledger.projections.projection import Projection
from many_seeds import on_postgres
from memory_store import MemoryStore
from simulate import Failure, simulate
from simulated_read_side import ReadSide

pytestmark = pytest.mark.slow

SEEDS = range(1, 201)

#: A bug is found long before this many seeds; a simulation that needs more is not worth its time.
SEEDS_TO_FIND_A_BUG = 30


@pytest.mark.parametrize("tens", range(SEEDS[0] // 10, SEEDS[-1] // 10))
def test_seeds_in_memory(tens: int) -> None:
    for seed in range(10 * tens + 1, 10 * tens + 10):
        simulate(seed)


def test_seeds_on_postgres(database_url: str) -> None:
    with ReadSide.on(database_url) as read_side:
        for seed in filter(on_postgres, SEEDS):
            simulate(seed, read_side)


def test_a_seed_plays_again_as_it_did() -> None:
    """In another process, where sets of texts have another order."""
    seed = SEEDS[0]
    code = f"import simulate; print(simulate.simulate({seed}).digest)"
    digests = {simulate(seed).digest}
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": ":".join(sys.path)}
        played = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(played.stdout.strip())
    assert len(digests) == 1


# Bugs that the simulation must find.


def _found_within(seeds: int, read_side: ReadSide | None = None) -> bool:
    try:
        for seed in range(seeds):
            simulate(seed, read_side)
    except Failure:
        return True
    return False


def used_keys_are_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    append = MemoryStore.append

    def forgetful(
        self: MemoryStore,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        kept, self.kept_receipts = self.kept_receipts, {}
        try:
            return append(self, events, receipts, expectations, seen)
        finally:
            self.kept_receipts = {**kept, **self.kept_receipts}

    monkeypatch.setattr(MemoryStore, "append", forgetful)


def conflicts_are_not_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    append = MemoryStore.append

    def obliging(
        self: MemoryStore,
        events: Sequence[Event],
        receipts: Sequence[tuple[Receipt, int]],
        expectations: Sequence[Expectation],
        seen: LogEnd | None = None,
    ) -> int:
        versions = {stream: len(kept) for stream, kept in self.streams.items()}
        fitted = []
        for event in events:
            version = versions[event.originator_id] = versions.get(event.originator_id, 0) + 1
            fitted.append(replace(event, originator_version=version))
        return append(self, fitted, receipts, ())

    monkeypatch.setattr(MemoryStore, "append", obliging)


def a_commit_without_an_answer_counts_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    save = Ledger._save

    def hopeful(self: Ledger, cases: Any) -> int:
        try:
            return save(self, cases)
        except Unavailable:
            return 0

    monkeypatch.setattr(Ledger, "_save", hopeful)


def what_others_wrote_is_taken_for_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(self: Turns, base: int, events: Sequence[Event]) -> None:
        if events:
            self._seen = LogEnd(base + len(events), events[-1].recorded_at)

    monkeypatch.setattr(Turns, "saved", hasty)


def a_failed_commit_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: Books, streams: Iterable[UUID]) -> None:
        self._versions = {}

    monkeypatch.setattr(Books, "forget", careless)


def callers_are_told_each_others_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    tell = group_commit._tell

    def confused(batch: Any, outcomes: Sequence[Outcome]) -> None:
        tell(batch, outcomes[::-1])

    monkeypatch.setattr(group_commit, "_tell", confused)


def what_is_parked_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_payment_streams", lambda _command: ())
    monkeypatch.setattr(waiting, "stream_of", lambda _waits_for: UUID(int=0))


def the_first_report_of_a_product_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    evolve = Product._evolve

    def stubborn(self: Product, event: Event) -> None:
        if self.version == 0:
            evolve(self, event)

    monkeypatch.setattr(Product, "_evolve", stubborn)


def batches_are_handled_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(
        cursor: Cursor[Any], projections: Sequence[Projection], *, after: int, to: int
    ) -> set[str]:
        names = [projection.name for projection in projections]
        cursor.execute("UPDATE projections SET position = %s WHERE name = ANY(%s)", (to, names))
        return set(names)

    monkeypatch.setattr(checkpoints, "claim", generous)


@pytest.mark.parametrize(
    "bug",
    [
        used_keys_are_taken_again,
        conflicts_are_not_decided_again,
        a_commit_without_an_answer_counts_as_done,
        what_others_wrote_is_taken_for_seen,
        a_failed_commit_stays_in_memory,
        callers_are_told_each_others_answers,
        what_is_parked_waits_for_nothing,
        the_first_report_of_a_product_stands,
    ],
)
def test_a_bug_of_the_write_path_or_of_the_stream_is_found(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    assert _found_within(SEEDS_TO_FIND_A_BUG)


def test_a_bug_of_the_read_side_is_found(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches_are_handled_twice(monkeypatch)
    with ReadSide.on(database_url) as read_side:
        assert _found_within(SEEDS_TO_FIND_A_BUG, read_side)
