"""The read side of a service: projections that keep up, their rebuilds, and the proof of it all."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from threading import Event
from typing import Final

from creditledger.infra.database import connect, connection_pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.wiring import Service
from creditledger.projections.catalogue import PROJECTIONS, projection_named
from creditledger.projections.checkpoints import start
from creditledger.projections.rebuild import Progress, rebuild
from creditledger.projections.runner import start_all
from creditledger.projections.verify import Report, tables_of, verify

_REBUILD: Final = "creditledger rebuild"
_VERIFY: Final = "creditledger verify"


#: Objects that are made before Python looks for dead cycles among the young ones, and how much
#: more rarely among the older ones.
_COLLECTION_THRESHOLDS: Final = (200_000, 50, 100)


def keep_up(service: Service, stop: Event) -> None:
    """Run all projections until `stop` is set; returns when the last batch has ended."""
    connecting = partial(connect, service.url, "creditledger projections")
    start_all(PROJECTIONS, connecting, service.log, stop).join()


def rebuild_projections(url: str, names: Sequence[str], progress: Progress) -> Mapping[str, int]:
    """Build read models anew beside the live ones, and put them in their places.

    `progress` is told the position that all have reached and the newest one. Returns the position
    that each has reached. Raises LookupError for an unknown name, RebuildRefused, PoisonedEvent.
    """
    projections = [projection_named(name) for name in dict.fromkeys(names)]
    with connection_pool(url, _REBUILD, size=len(projections)) as pool, _rare_collections():
        return rebuild(projections, partial(connect, url, _REBUILD), EventLog(pool), progress)


def verify_ledger(url: str, at: datetime) -> Report:
    """Prove a ledger and its read models on one snapshot, with what is due by `at`.

    May run while the service does. Raises Unavailable.
    """
    with connection_pool(url, _VERIFY, size=2) as pool:
        log = EventLog(pool)
        connecting = partial(connect, url, _VERIFY)
        with log.frozen(tables_of(PROJECTIONS)) as frozen:
            return verify(frozen, PROJECTIONS, connect=connecting, log=log, at=at)


def start_projection(url: str, name: str) -> bool:
    """Let a stopped projection try again; False where it was not stopped. Raises LookupError."""
    projection_named(name)
    with connect(url, "creditledger projections") as connection:
        return start(connection, name)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for dead cycles seldom while the whole log is gone through.

    Events come and go by the hundred thousand and are in no cycles; looking for some among them
    at Python's own pace takes as long as reading them.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
