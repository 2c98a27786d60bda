"""Whether the service is alive, able to serve, and what it counts. No API key is needed."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from creditledger.api.metrics import MEDIA_TYPE, Metrics
from creditledger.api.stream_desk import StreamDesk
from creditledger.infra.deliveries import Counts, open_deliveries
from creditledger.infra.publications import lags
from creditledger.infra.reconciliation_record import progress_in
from creditledger.infra.wiring import Service
from creditledger.projections.checkpoints import Status, statuses


def operations(service: Service, metrics: Metrics) -> APIRouter:
    """The routes for whoever runs the service."""
    router = APIRouter(tags=["Operations"])
    stream = StreamDesk(service.stream.waiting)

    @router.get("/healthz", summary="Alive", operation_id="health", response_model=dict[str, str])
    async def health() -> Response:
        """The process answers; nothing else is looked at."""
        return _json(200, {"status": "alive"})

    @router.get(
        "/readyz",
        summary="Able to serve",
        operation_id="readiness",
        response_model=dict[str, Any],
        responses={503: {"description": "The database does not answer"}},
    )
    async def readiness() -> Response:
        """`ready`; or `degraded` where a projection has stopped, so that reads from it are old,
        or webhooks cannot be taken, while all else goes on; or 503 `unavailable` without the
        database."""
        try:
            async with service.reads.connection() as connection:
                found, counts = await statuses(connection), await open_deliveries(connection)
        except (OperationalError, PoolTimeout) as error:
            reason = str(error).strip().splitlines()[0]
            return _json(503, {"status": "unavailable", "database": reason})
        stopped = any(status.status == "stopped" for status in found)
        seen = await stream.seen()
        webhooks = {"stream": seen.trouble or "ok", "waiting": seen.waiting}
        body = {
            "status": "degraded" if stopped or seen.trouble else "ready",
            "database": "ok",
            "queued_commands": service.writer.queued_commands,
            "projections": [_shown(status) for status in found],
            "webhooks": {**webhooks, **_by_status(counts)},
        }
        return _json(200, body)

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        operation_id="metrics",
        response_class=PlainTextResponse,
    )
    async def figures() -> Response:
        """Commands, commits, latencies and lag, in Prometheus' text format."""
        try:
            async with service.reads.connection() as connection:
                found, published = await statuses(connection), await lags(connection)
                metrics.reconciled(await progress_in(connection, service.settings))
                metrics.deliveries(await open_deliveries(connection), (await stream.seen()).waiting)
        except (OperationalError, PoolTimeout):
            # What this process has counted is worth telling even then.
            found, published = [], []
        body = metrics.exposition(
            queued=service.writer.queued_commands, statuses=found, published=published
        )
        return Response(body, media_type=MEDIA_TYPE)

    return router


def _by_status(counts: Counts) -> dict[str, int]:
    """Those that need somebody: the others only wait for their turn."""
    return {
        status: sum(count for (found, _), count in counts.items() if found == status)
        for status in ("parked", "failed")
    }


def _shown(status: Status) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": status.name,
        "status": status.status,
        "position": status.position,
        "lag": status.lag,
    }
    if status.error is not None:
        shown["error"] = status.error
    return shown


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
