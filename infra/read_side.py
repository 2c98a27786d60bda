"""The read side of a service: projections that keep up, and their rebuilds."""

from __future__ import annotations

from functools import partial
from threading import Event

from creditledger.infra.database import connect
from creditledger.infra.wiring import Service
from creditledger.projections.catalogue import PROJECTIONS, projection_named
from creditledger.projections.checkpoints import start
from creditledger.projections.rebuild import Progress, rebuild
from creditledger.projections.runner import start_all


def keep_up(service: Service, stop: Event) -> None:
    """Run all projections until `stop` is set; returns when the last batch has ended."""
    connecting = partial(connect, service.url, "creditledger projections")
    for thread in start_all(PROJECTIONS, connecting, service.log, stop):
        thread.join()


def rebuild_projection(service: Service, name: str, progress: Progress) -> int:
    """Build a read model anew beside the live one, and put it in its place.

    `progress` is told the position reached and the newest one. Returns the position reached.
    Raises LookupError for an unknown name, RebuildRefused, and PoisonedEvent.
    """
    connecting = partial(connect, service.url, "creditledger rebuild")
    return rebuild(projection_named(name), connecting, service.log, progress)


def start_projection(service: Service, name: str) -> bool:
    """Let a stopped projection try again; False where it was not stopped. Raises LookupError."""
    projection_named(name)
    with connect(service.url, "creditledger projections") as connection:
        return start(connection, name)
