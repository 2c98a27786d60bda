"""Proves the ledger: the log, receipts against it, and every read model at its checkpoint.

All of it on one snapshot, so it may run while the service does; in parts, which several processes
may prove side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from psycopg import Connection, DataError

from creditledger.projections import checkpoints
from creditledger.projections.findings import Difference, Findings, Witness
from creditledger.projections.frozen_log import FrozenLog, PartedLog, Stored
from creditledger.projections.log_audit import Counts, LogAudit, Totals, check_positions
from creditledger.projections.models_audit import ModelsAudit, Streams, compare_accounts
from creditledger.projections.projection import Projection
from creditledger.projections.receipts_audit import ReceiptsAudit

N = TypeVar("N", Counts, Totals)

_BALANCES: Final = "balances"


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
        models = ModelsAudit(grounds.beside, marks, proved.findings)
        audit = LogAudit(
            _Passing(grounds.log.part(*self.streams), models, self.streams),
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


class ModelsPart(NamedTuple):
    """The read models whose rows follow from several streams."""

    def prove(self, grounds: Grounds) -> Proved:
        """Build them in the order of the log."""
        proved = Proved()
        marks = {
            projection: mark
            for projection, mark in grounds.marks.items()
            if projection.stream_column is None
        }
        topics = {kind.TOPIC for projection in marks for kind in projection.handles}
        models = ModelsAudit(grounds.beside, marks, proved.findings)
        models.all(grounds.log.of_topics(topics))
        proved.add_models(models, marks)
        return proved


class ReceiptsPart(NamedTuple):
    """All receipts, and the positions of all events."""

    def prove(self, grounds: Grounds) -> Proved:
        """Walk through the receipts."""
        proved = Proved()
        check_positions(grounds.log, proved.findings)
        audit = ReceiptsAudit(grounds.log, proved.findings)
        try:
            with grounds.log.connection.transaction():
                audit.run()
        except DataError as fault:
            witness = Witness(proved.findings, "receipts", "the whole log")
            witness.report("every event is JSON", "JSON", fault)
        proved.receipts = audit.receipts
        return proved


Part = StreamsPart | ModelsPart | ReceiptsPart


def parts(number: int) -> list[Part]:
    """All that is to be proved, the streams in so many parts of about the same size.

    Ids of streams are hashes, so equal ranges of them hold about equally many.
    """
    bounds = [UUID(int=(nth << 128) // number) for nth in range(number)]
    ends: list[UUID | None] = [*bounds[1:], None]
    streams = [StreamsPart(Streams(*pair)) for pair in zip(bounds, ends, strict=True)]
    return [ReceiptsPart(), *streams, ModelsPart()]


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
    """A part of the log, of which models are built while it is walked through."""

    def __init__(self, log: FrozenLog, models: ModelsAudit, streams: Streams) -> None:
        self.connection = log.connection
        self.head = log.head
        self.gaps = log.gaps
        self.of_streams = log.of_streams
        self.at = log.at
        self._log = log
        self._models = models
        self._streams = streams

    def by_stream(self) -> Iterator[Stored]:
        """All events of the part, stream by stream."""
        return self._models.passing(self._log.by_stream(), self._streams)


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
