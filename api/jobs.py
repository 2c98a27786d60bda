"""The jobs of `creditledger work`, each in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Final

from creditledger.api.processes import ProcessEnded
from creditledger.consumers.publisher import publish
from creditledger.consumers.worker import consume
from creditledger.infra.heartbeat import SILENT_SECONDS_MAX, Stop, beat
from creditledger.infra.read_side import keep_up
from creditledger.infra.reconciliation_schedule import reconcile_until
from creditledger.infra.settings import Settings
from creditledger.infra.sweeper import sweep_until
from creditledger.infra.wiring import Service, machine_clock

_LOG = logging.getLogger(__name__)

#: How often it is looked whether the jobs are still at it.
_LOOK_SECONDS: Final = 1.0


class Job(Enum):
    """What `creditledger work` does."""

    PROJECTIONS = "projections"
    WEBHOOKS = "webhooks"
    SWEEPER = "sweeper"
    RECONCILIATION = "reconciliation"
    PUBLISHER = "publisher"


def chosen_jobs(settings: Settings, named: Sequence[Job]) -> Sequence[Job]:
    """The jobs that were named, each once; without any, all that the settings allow.

    Raises ProcessEnded for a publisher without Kafka.
    """
    with_kafka = settings.kafka_bootstrap_servers is not None
    if Job.PUBLISHER in named and not with_kafka:
        raise ProcessEnded("the publisher needs CREDITLEDGER_KAFKA_BOOTSTRAP_SERVERS")
    allowed = [job for job in Job if with_kafka or job != Job.PUBLISHER]
    return list(dict.fromkeys(named or allowed))


def run_jobs(running: Service, jobs: Sequence[Job], heartbeat: Path | None = None) -> None:
    """Do these jobs until interrupted.

    While all of them are at it, the `heartbeat` file is touched every second. Raises ProcessEnded
    where one of them ends by itself.
    """
    stops = {job: Stop() for job in jobs}
    threads = [
        threading.Thread(target=_DOING[job], args=(running, stop), name=job.value)
        for job, stop in stops.items()
    ]
    try:
        # The interruption may come while they are being started.
        for thread in threads:
            thread.start()
        _watch(threads, stops, heartbeat)
    finally:
        for stop in stops.values():
            stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _watch(
    threads: Sequence[threading.Thread], stops: Mapping[Job, Stop], heartbeat: Path | None
) -> None:
    """Return never: raises ProcessEnded where a thread ends by itself."""
    hanging: set[Job] = set()
    while all(thread.is_alive() for thread in threads):
        silent = {job for job, stop in stops.items() if stop.silent_seconds() > SILENT_SECONDS_MAX}
        for job in silent - hanging:
            _LOG.error("the %s have not come round for %g s", job.value, SILENT_SECONDS_MAX)
        hanging = silent
        if heartbeat is not None and not hanging:
            beat(heartbeat)
        threads[0].join(_LOOK_SECONDS)
    ended = next(thread.name for thread in threads if not thread.is_alive())
    raise ProcessEnded(f"the thread of the {ended} ended by itself")


def _sweep(running: Service, stop: threading.Event) -> None:
    sweep_until(
        stop,
        running.pool,
        running.writer,
        now=machine_clock,
        interval_seconds=running.settings.sweep_interval_seconds,
    )


def _reconcile(running: Service, stop: threading.Event) -> None:
    reconcile_until(
        stop, running.settings, running.url, running.pool, running.stream, now=machine_clock
    )


_DOING: Final[Mapping[Job, Callable[[Service, threading.Event], None]]] = {
    Job.PROJECTIONS: keep_up,
    Job.WEBHOOKS: consume,
    Job.SWEEPER: _sweep,
    Job.RECONCILIATION: _reconcile,
    Job.PUBLISHER: publish,
}
