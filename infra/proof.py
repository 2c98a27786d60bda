"""The proof of a ledger, by several processes side by side.

Each of them imports this module anew, so it imports no more than a proof needs.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from creditledger.infra.database import connect, connection_pool
from creditledger.infra.event_log import EventLog, trouble_as_unavailable
from creditledger.infra.frozen_log import import_snapshot, prepare_to_prove
from creditledger.infra.rare_collections import rare_collections
from creditledger.projections.catalogue import PROJECTIONS, projection_named
from creditledger.projections.verify import (
    Grounds,
    Part,
    Proved,
    Report,
    marks_of,
    parts,
    report,
    tables_of,
)

_VERIFY: Final = "creditledger verify"

#: Events below which a process would take longer to start than to prove its part.
_WORTH_PROCESSES: Final = 50_000

#: Parts of the streams for each process, so that all end at about the same time.
_PARTS: Final = 2

#: A proof keeps that many at a time without any being dead.
_PROOF_THRESHOLDS: Final = (2_000_000, 50, 100)


def verify_ledger(url: str, at: datetime, *, processes: int | None = None) -> Report:
    """Prove a ledger and its read models on one snapshot, with what is due by `at`.

    May run while the service does. A log that is worth it is proved by several processes, one for
    each processor where their number is not given. Raises Unavailable.
    """
    with (
        connection_pool(url, _VERIFY, size=2) as pool,
        EventLog(pool).frozen(tables_of(PROJECTIONS)) as log,
        TemporaryDirectory(prefix="creditledger-verify-") as folder,
    ):
        if processes is None:
            processes = os.cpu_count() or 1 if log.head >= _WORTH_PROCESSES else 1
        proved = Proved()
        marks = marks_of(log, PROJECTIONS, proved.findings)
        names = {projection.name: mark for projection, mark in marks.items()}
        ground = _Ground(url, log.snapshot(), names, at, Path(folder))
        for part in _proofs(ground, processes):
            proved.add(part)
        return report(log, PROJECTIONS, marks, at, proved)


def _proofs(ground: _Ground, processes: int) -> Iterator[Proved]:
    prove = partial(_prove, ground)
    if processes == 1:
        for step in parts(1):
            yield from map(prove, step)
        return
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawning) as workers:
        for step in parts(_PARTS * processes):
            yield from workers.map(prove, step)


class _Ground(NamedTuple):
    """What leads a process to the snapshot that a proof stands on."""

    url: str
    snapshot: str
    marks: Mapping[str, int]
    at: datetime
    folder: Path


def _prove(ground: _Ground, part: Part) -> Proved:
    with (
        connection_pool(ground.url, _VERIFY, size=1) as pool,
        EventLog(pool).frozen(snapshot=ground.snapshot) as log,
        trouble_as_unavailable(),
        connect(ground.url, _VERIFY) as beside,
        beside.transaction(),
        rare_collections(_PROOF_THRESHOLDS),
    ):
        beside.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        import_snapshot(beside, ground.snapshot)
        prepare_to_prove(beside)
        prepare_to_prove(log.connection)
        marks = {projection_named(name): mark for name, mark in ground.marks.items()}
        grounds = Grounds(log=log, beside=beside, marks=marks, at=ground.at, folder=ground.folder)
        return part.prove(grounds)
