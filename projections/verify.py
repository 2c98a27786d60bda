"""Proves the ledger: the log, receipts against it, and every read model at its checkpoint.

All of it on one snapshot, so it may run while the service does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import Connection, DataError

from creditledger.projections import checkpoints
from creditledger.projections.findings import Difference, Findings, Witness
from creditledger.projections.frozen_log import FrozenLog
from creditledger.projections.log_audit import Counts, LogAudit
from creditledger.projections.models_audit import compare, compare_accounts
from creditledger.projections.projection import Projection
from creditledger.projections.receipts_audit import ReceiptsAudit
from creditledger.projections.runner import Connect, Log

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


def verify(
    frozen: FrozenLog,
    projections: Sequence[Projection],
    *,
    connect: Connect,
    log: Log,
    at: datetime,
) -> Report:
    """Prove everything on one snapshot; differences are told in the report, never raised.

    `log` reads the same log up to the checkpoints, which never changes; `connect` makes
    connections for temporary tables.
    """
    findings = Findings()
    marks = {
        projection.name: _mark(frozen.connection, projection, findings)
        for projection in projections
    }
    balances_at = marks.get(_BALANCES)
    audit = LogAudit(
        frozen, findings, balances_at=-1 if balances_at is None else balances_at, at=at
    )
    accounts = audit.accounts()
    if balances_at is None:
        for _ in accounts:
            pass
    else:
        compare_accounts(accounts, frozen.connection, findings)
    receipts = _audit_receipts(frozen, findings)
    wanted = {
        projection: mark
        for projection in projections
        if (mark := marks[projection.name]) is not None
    }
    rows = compare(wanted, findings, live=frozen.connection, connect=connect, log=log)
    models = [
        Compared(
            name=projection.name,
            position=marks[projection.name] or 0,
            rows=rows.get(projection),
        )
        for projection in projections
    ]
    return Report(
        position=frozen.head,
        at=at,
        counts=audit.counts,
        receipts=receipts,
        models=models,
        differences=findings.kept,
        differences_total=findings.total,
    )


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


def _audit_receipts(frozen: FrozenLog, findings: Findings) -> int:
    audit = ReceiptsAudit(frozen, findings)
    try:
        with frozen.connection.transaction():
            audit.run()
    except DataError as fault:
        witness = Witness(findings, "receipts", "the whole log")
        witness.report("every event is JSON", "JSON", fault)
    return audit.receipts
