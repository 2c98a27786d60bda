"""The read side of a service: projections that keep up, their rebuilds, and the proof of it all."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Final, NamedTuple

from creditledger.infra.database import connect, connection_pool
from creditledger.infra.event_log import EventLog, trouble_as_unavailable
from creditledger.infra.frozen_log import import_snapshot, prepare_to_prove
from creditledger.infra.wiring import Service
from creditledger.projections.catalogue import PROJECTIONS, projection_named
from creditledger.projections.checkpoints import start
from creditledger.projections.rebuild import Progress, rebuild
from creditledger.projections.runner import start_all
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

_REBUILD: Final = "creditledger rebuild"
_VERIFY: Final = "creditledger verify"


#: Events below which a process would take longer to start than to prove its part.
_WORTH_PROCESSES: Final = 50_000

#: Parts of the streams for each process, so that all end at about the same time.
_PARTS: Final = 2

#: Objects that are made before Python looks for dead cycles among the young ones, and how much
#: more rarely among the older ones.
_COLLECTION_THRESHOLDS: Final = (200_000, 50, 100)

#: A proof keeps that many at a time without any being dead.
_PROOF_THRESHOLDS: Final = (2_000_000, 50, 100)


def keep_up(service: Service, stop: Event) -> None:
    """Run all projections until `stop` is set; returns when the last batch has ended."""
    connecting = partial(connect, service.url, "creditledger projections")
    with _rare_collections():
        start_all(PROJECTIONS, connecting, service.log, stop).join()


def rebuild_projections(url: str, names: Sequence[str], progress: Progress) -> Mapping[str, int]:
    """Build read models anew beside the live ones, and put them in their places.

    `progress` is told the position that all have reached and the newest one. Returns the position
    that each has reached. Raises LookupError for an unknown name, RebuildRefused, PoisonedEvent.
    """
    projections = [projection_named(name) for name in dict.fromkeys(names)]
    with connection_pool(url, _REBUILD, size=len(projections)) as pool, _rare_collections():
        return rebuild(projections, partial(connect, url, _REBUILD), EventLog(pool), progress)


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
        _rare_collections(_PROOF_THRESHOLDS),
    ):
        beside.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        import_snapshot(beside, ground.snapshot)
        prepare_to_prove(beside)
        prepare_to_prove(log.connection)
        marks = {projection_named(name): mark for name, mark in ground.marks.items()}
        grounds = Grounds(log=log, beside=beside, marks=marks, at=ground.at, folder=ground.folder)
        return part.prove(grounds)


def start_projection(url: str, name: str) -> bool:
    """Let a stopped projection try again; False where it was not stopped. Raises LookupError."""
    projection_named(name)
    with connect(url, "creditledger projections") as connection:
        return start(connection, name)


@contextmanager
def _rare_collections(
    thresholds: tuple[int, int, int] = _COLLECTION_THRESHOLDS,
) -> Iterator[None]:
    """Let Python look for dead cycles seldom while the log is gone through.

    Events come and go by the hundred thousand and are in no cycles; looking for some among them
    at Python's own pace takes as long as reading them.
    """
    before = gc.get_threshold()
    gc.set_threshold(*thresholds)
    try:
        yield
    finally:
        gc.set_threshold(*before)
