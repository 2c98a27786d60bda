"""Proves the ledger: the log, receipts against it, and every read model at its checkpoint.

All of it on one snapshot, so it may run while the service does; in parts, which several processes
may prove side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from psycopg import Connection

from creditledger.projections import checkpoints
from creditledger.projections.causes import RANGES, Causes, caused
from creditledger.projections.findings import Difference, Findings, Witness
from creditledger.projections.frozen_log import FrozenLog, PartedLog, Stored
from creditledger.projections.log_audit import Counts, LogAudit, Totals, check_positions
from creditledger.projections.models_audit import ModelsAudit, Streams, compare_accounts
from creditledger.projections.projection import Projection
from creditledger.projections.receipts_audit import ReceiptsAudit

N = TypeVar("N", Counts, Totals)

_BALANCES: Final = "balances"

#: About how many events are held against their receipts at a time: some 200 MB in each process.
_EVENTS_AT_ONCE: Final = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A read model that was compared with the log; `rows` is None where it could not be."""

    name: str
    position: int
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was proved up to `position`, with what is due by `at`; `differences` are the first."""

    position: int
    at: datetime
    counts: Counts
    receipts: int
    models: Sequence[Compared]
    differences: Sequence[Difference]
    differences_total: int

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return self.differences_total == 0


def tables_of(projections: Sequence[Projection]) -> list[str]:
    """The tables that must keep their places while a ledger is verified."""
    return ["projections", *(table for projection in projections for table in projection.tables)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What a proof stands on: one snapshot of the log and of the tables.

    `beside` sees the same and may make temporary tables. `marks` tells where each read model
    stands, of those whose rows are of this version.
    """

    log: PartedLog
    beside: Connection[Any]
    marks: Mapping[Projection, int]
    at: datetime
    #: Where the parts leave what events say of receipts.
    folder: Path

    def models(self, marks: Mapping[Projection, int], findings: Findings) -> ModelsAudit:
        """What compares these read models, which stand at their marks."""
        return ModelsAudit(self.beside, marks, findings, self.log.head, self._again)

    def _again(self, streams: Streams) -> Iterable[Stored]:
        """Some streams of the log, also while a part is gone through."""
        return chain.from_iterable(self.log.part(*streams).by_stream())


@dataclass(slots=True)
class Proved:
    """What came of a part of the proof, or of all parts so far."""

    findings: Findings = field(default_factory=Findings)
    counts: Counts = field(default_factory=Counts)
    totals: Totals = field(default_factory=Totals)
    receipts: int = 0
    #: How many rows each read model should have; those that cannot be built are left out.
    rows: Counter[str] = field(default_factory=Counter)
    broken: set[str] = field(default_factory=set)

    def add(self, other: Proved) -> None:
        """Take in what came of another part."""
        for difference in other.findings.kept:
            self.findings.add(difference)
        self.findings.total += other.findings.total - len(other.findings.kept)
        self.counts = _sum(self.counts, other.counts)
        self.totals = _sum(self.totals, other.totals)
        self.receipts += other.receipts
        self.rows += other.rows
        self.broken |= other.broken

    def add_models(self, audit: ModelsAudit, of: Iterable[Projection]) -> None:
        """Take in what came of these read models."""
        self.rows.update({projection.name: rows for projection, rows in audit.rows.items()})
        self.broken |= {projection.name for projection in of if projection not in audit.rows}


class StreamsPart(NamedTuple):
    """The log of some streams, with the read models whose rows follow from one stream each."""

    streams: Streams

    def prove(self, grounds: Grounds) -> Proved:
        """Walk through these streams."""
        proved = Proved()
        marks = {
            projection: mark
            for projection, mark in grounds.marks.items()
            if projection.stream_column is not None
        }
        balances_at = next((at for p, at in marks.items() if p.name == _BALANCES), None)
        models = grounds.models(marks, proved.findings)
        causes = Causes(grounds.folder, self.streams.first.hex, proved.findings)
        audit = LogAudit(
            _Passing(grounds.log.part(*self.streams), self.streams, models, causes),
            proved.findings,
            balances_at=-1 if balances_at is None else balances_at,
            at=grounds.at,
        )
        accounts = audit.walk()
        if balances_at is None:
            for _ in accounts:
                pass
        else:
            compare_accounts(accounts, grounds.log.connection, proved.findings)
        proved.counts, proved.totals = audit.counts, audit.totals
        proved.add_models(models, marks)
        return proved


class OrderPart(NamedTuple):
    """The positions of all events, and the read models whose rows follow from several streams."""

    def prove(self, grounds: Grounds) -> Proved:
        """Go through the log in its order."""
        proved = Proved()
        check_positions(grounds.log, proved.findings)
        marks = {
            projection: mark
            for projection, mark in grounds.marks.items()
            if projection.stream_column is None
        }
        topics = {kind.TOPIC for projection in marks for kind in projection.handles}
        models = grounds.models(marks, proved.findings)
        models.all(grounds.log.of_topics(topics))
        proved.add_models(models, marks)
        return proved


class ReceiptsPart(NamedTuple):
    """Some ranges of receipts, once all streams have been walked through."""

    ranges: range

    def prove(self, grounds: Grounds) -> Proved:
        """Hold these receipts against what events say of them."""
        proved = Proved()
        audit = ReceiptsAudit(grounds.log, proved.findings)
        # Ids are hashes, so each reading comes by nearly all of the table's pages.
        at_once = max(1, _EVENTS_AT_ONCE * RANGES // max(1, grounds.log.head))
        for first in self.ranges[::at_once]:
            ranges = range(first, min(first + at_once, self.ranges.stop))
            audit.run(ranges, caused(grounds.folder, ranges))
        proved.receipts = audit.receipts
        return proved


Part = StreamsPart | OrderPart | ReceiptsPart


def parts(number: int) -> list[list[Part]]:
    """All that is to be proved, in steps: the parts of each may be proved side by side.

    Streams, and receipts, are in `number` parts of about the same size: their ids are hashes, so
    equal ranges of them hold about equally many.
    """
    firsts = [UUID(int=(nth << 128) // number) for nth in range(number)]
    beyonds: list[UUID | None] = [*firsts[1:], None]
    streams = [StreamsPart(Streams(*pair)) for pair in zip(firsts, beyonds, strict=True)]
    shares = min(number, RANGES)
    receipts = [
        ReceiptsPart(range(nth * RANGES // shares, (nth + 1) * RANGES // shares))
        for nth in range(shares)
    ]
    return [[*streams, OrderPart()], [*receipts]]


def marks_of(
    log: FrozenLog, projections: Sequence[Projection], findings: Findings
) -> dict[Projection, int]:
    """Where read models stand; those whose rows cannot be compared are reported and left out."""
    marks = {}
    for projection in projections:
        mark = _mark(log.connection, projection, findings)
        if mark is not None and mark > log.head:
            fault = f"LookupError: the log ends at position {log.head}"
            witness = Witness(findings, projection.name, f"up to position {mark}")
            witness.report("can be built from the log", "rows", fault)
        elif mark is not None:
            marks[projection] = mark
    return marks


def report(
    log: FrozenLog,
    projections: Sequence[Projection],
    marks: Mapping[Projection, int],
    at: datetime,
    proved: Proved,
) -> Report:
    """What all parts together have proved."""
    proved.totals.check(proved.findings)
    return Report(
        position=log.head,
        at=at,
        counts=proved.counts,
        receipts=proved.receipts,
        models=[
            Compared(
                name=projection.name,
                position=marks.get(projection, 0),
                rows=None
                if projection not in marks or projection.name in proved.broken
                else proved.rows[projection.name],
            )
            for projection in projections
        ],
        differences=proved.findings.kept,
        differences_total=proved.findings.total,
    )


class _Passing:
    """A part of the log, of which others take notes while it is walked through."""

    def __init__(
        self, log: FrozenLog, streams: Streams, models: ModelsAudit, causes: Causes
    ) -> None:
        self.connection = log.connection
        self.head = log.head
        self.gaps = log.gaps
        self.of_streams = log.of_streams
        self.at = log.at
        self._log = log
        self._streams = streams
        self._models = models
        self._causes = causes

    def by_stream(self) -> Iterator[Sequence[Stored]]:
        """All events of the part, stream by stream, a long one in pieces."""
        for events in self._models.passing(self._log.by_stream(), self._streams):
            self._causes.take_in(events)
            yield events
        self._causes.write()


def _sum(one: N, other: N) -> N:
    """Field by field."""
    numbers = {
        each.name: getattr(one, each.name) + getattr(other, each.name) for each in fields(one)
    }
    return replace(one, **numbers)


def _mark(connection: Connection[Any], projection: Projection, findings: Findings) -> int | None:
    """Where a read model stands; None where its rows are not those of this version."""
    try:
        mark = checkpoints.checkpoint(connection, projection.name)
    except LookupError:
        # It has never run here, so it must be as empty as it was made.
        return 0
    witness = Witness(findings, projection.name, "checkpoint")
    if not witness.expect("built by version", projection.version, mark.version):
        return None
    return mark.position
