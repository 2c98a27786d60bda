"""The read side of a service: projections that keep up, and their rebuilds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from threading import Event
from typing import Final

from creditledger.infra.database import connect, connection_pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.rare_collections import rare_collections
from creditledger.infra.wiring import Service
from creditledger.projections.catalogue import PROJECTIONS, projection_named
from creditledger.projections.checkpoints import start
from creditledger.projections.rebuild import Progress, rebuild
from creditledger.projections.runner import start_all

_REBUILD: Final = "creditledger rebuild"


def keep_up(service: Service, stop: Event) -> None:
    """Run all projections until `stop` is set; returns when the last batch has ended."""
    connecting = partial(connect, service.url, "creditledger projections")
    with rare_collections():
        start_all(PROJECTIONS, connecting, service.log, stop).join()


def rebuild_projections(url: str, names: Sequence[str], progress: Progress) -> Mapping[str, int]:
    """Build read models anew beside the live ones, and put them in their places.

    `progress` is told the position that all have reached and the newest one. Returns the position
    that each has reached. Raises LookupError for an unknown name, RebuildRefused, PoisonedEvent.
    """
    projections = [projection_named(name) for name in dict.fromkeys(names)]
    with connection_pool(url, _REBUILD, size=len(projections)) as pool, rare_collections():
        return rebuild(projections, partial(connect, url, _REBUILD), EventLog(pool), progress)


def start_projection(url: str, name: str) -> bool:
    """Let a stopped projection try again; False where it was not stopped. Raises LookupError."""
    projection_named(name)
    with connect(url, "creditledger projections") as connection:
        return start(connection, name)
