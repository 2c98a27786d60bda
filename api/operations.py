"""Whether the service is alive, able to serve, and what it counts. No API key is needed."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from creditledger.api.metrics import MEDIA_TYPE, Metrics
from creditledger.infra.publications import lags
from creditledger.infra.reconciliation_record import progress_in
from creditledger.infra.wiring import Service
from creditledger.projections.checkpoints import Status, statuses

# Deliveries that are not booked yet, as far as anybody would look.
_OPEN_DELIVERIES = """
    SELECT status, count(*) FROM webhook_deliveries
     WHERE status IN ('received', 'parked', 'failed') GROUP BY status
"""


def operations(service: Service, metrics: Metrics) -> APIRouter:
    """The routes for whoever runs the service."""
    router = APIRouter(tags=["Operations"])

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
        """`ready`; or `degraded` where a projection has stopped, so that reads from it are old
        while commands and exact reads go on; or 503 `unavailable` without the database."""
        try:
            found, deliveries = await _look()
        except (OperationalError, PoolTimeout) as error:
            reason = str(error).strip().splitlines()[0]
            return _json(503, {"status": "unavailable", "database": reason})
        stopped = any(status.status == "stopped" for status in found)
        body = {
            "status": "degraded" if stopped else "ready",
            "database": "ok",
            "queued_commands": service.writer.queued_commands,
            "projections": [_shown(status) for status in found],
            "webhooks": deliveries,
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
        except (OperationalError, PoolTimeout):
            # What this process has counted is worth telling even then.
            found, published = [], []
        body = metrics.exposition(
            queued=service.writer.queued_commands, statuses=found, published=published
        )
        return Response(body, media_type=MEDIA_TYPE)

    async def _look() -> tuple[list[Status], dict[str, int]]:
        async with service.reads.connection() as connection:
            found = await statuses(connection)
            rows = await (await connection.execute(_OPEN_DELIVERIES)).fetchall()
        return found, {str(status): int(count) for status, count in rows}

    return router


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
