"""The log itself, in order, for replay: JSON pages, or one long stream of lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from creditledger.api.auth import needs
from creditledger.api.pages import PAGE_DEFAULT, Limit
from creditledger.api.query_answers import EventPage
from creditledger.api.reading import StrictRoute
from creditledger.api.values import CustomerId, Position, Text
from creditledger.domain import ids
from creditledger.infra.event_log import Page
from creditledger.infra.wiring import Service
from creditledger.projections import balances
from creditledger.projections.feed import public_event

NDJSON: Final = "application/x-ndjson"

#: Events that are read at a time while a long stream is sent.
_CHUNK: Final = 1_000


class EventFilter(BaseModel):
    """Which part of the log."""

    model_config = ConfigDict(extra="forbid")

    after: Position = Field(default=0, description="Only events past this position")
    limit: Limit | None = Field(
        default=None, description=f"{PAGE_DEFAULT} for a page; a stream has no limit without one"
    )
    customer_id: CustomerId | None = Field(
        default=None,
        description="Only events of this customer's accounts; payments, links and subscriptions"
        " have streams of their own and are left out",
    )
    type: (
        Annotated[str, Text(64, "^[A-Za-z]*$", "should be a type's name, such as Deducted")] | None
    ) = Field(default=None, description="Only this type", examples=["Deducted"])


def events(service: Service) -> APIRouter:
    """The routes for whoever replays history."""
    router = APIRouter(
        tags=["Events"], route_class=StrictRoute, dependencies=[Depends(needs("events"))]
    )

    @router.get(
        "/v1/events",
        summary="The log, in order",
        operation_id="events",
        response_model=EventPage,
        responses={
            200: {"content": {NDJSON: {"schema": {"type": "string"}}}},
        },
    )
    async def feed(
        query: Annotated[EventFilter, Query()], accept: Annotated[str, Header()] = ""
    ) -> Response:
        """Events past a position. Ask for `application/x-ndjson` to get all of them, a line each.

        `next_after` is where the next page begins; a page may be empty before the log ends,
        because a filter looks at a bounded part of the log at a time. `has_more` tells.
        """
        if NDJSON in accept:
            return StreamingResponse(_lines(service, query), media_type=NDJSON)
        page = await _read(service, query, query.after, query.limit or PAGE_DEFAULT)
        body = {
            "events": [public_event(position, event) for position, event in page.events],
            "next_after": page.position,
            "has_more": page.more,
        }
        return Response(orjson.dumps(body), media_type="application/json")

    return router


async def _lines(service: Service, query: EventFilter) -> AsyncIterator[bytes]:
    """Every event up to where the log ended when the stream began."""
    end = await asyncio.to_thread(service.log.head)
    after, left = query.after, query.limit
    while after < end and left != 0:
        page = await _read(service, query, after, min(_CHUNK, left or _CHUNK))
        lines = [
            orjson.dumps(public_event(position, event), option=orjson.OPT_APPEND_NEWLINE)
            for position, event in page.events
            if position <= end
        ]
        yield b"".join(lines)
        after = page.position
        left = None if left is None else left - len(lines)


async def _read(service: Service, query: EventFilter, after: int, limit: int) -> Page:
    streams: Sequence[UUID] | None = None
    if query.customer_id is not None:
        async with service.reads.connection() as connection:
            assets = await balances.assets(connection, query.customer_id)
        streams = [ids.account_id(query.customer_id, asset) for asset in assets]
    topics = None if query.type is None else [f"creditledger.{query.type}"]
    return await asyncio.to_thread(service.log.read, after, limit, streams=streams, topics=topics)
