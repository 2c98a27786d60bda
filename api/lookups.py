"""One thing by its id, with what happened to it: entries, grants, deductions, holds, receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from creditledger.api import query_answers as q
from creditledger.api.auth import needs
from creditledger.api.openapi import problems
from creditledger.api.pages import Limit, Page
from creditledger.api.problems import Problem
from creditledger.api.reading import StrictRoute
from creditledger.api.serving import Running, json_answer
from creditledger.api.values import IdText, Key
from creditledger.domain import answers, ids
from creditledger.domain.receipt import ACCEPTED, Receipt, told_and_asked
from creditledger.infra.clients import Caller
from creditledger.projections import balances, entries, holds
from creditledger.projections.explanation import explain

#: Enough for nearly all things without asking again.
_HISTORY_DEFAULT: Final = 100


class HistoryPage(Page):
    """Which page of what happened to one thing."""

    limit: Limit = _HISTORY_DEFAULT


lookups: Final = APIRouter(
    prefix="/v1",
    tags=["Queries"],
    route_class=StrictRoute,
    dependencies=[Depends(needs("read"))],
)

_Connection = AsyncConnection[TupleRow]
_Id = Annotated[IdText, Path()]
_Page = Annotated[HistoryPage, Query()]


@lookups.get(
    "/entries/{entry_id}/explanation",
    summary="Why these lots",
    operation_id="explain",
    response_model=q.ExplanationAnswer,
    responses=problems("entry_not_found"),
)
async def explanation(service: Running, entry_id: _Id) -> Response:
    """For each lot touched: its place in the burn order, what it cost, which payment paid."""
    ref = ids.parse_event_id(ids.ENTRY, entry_id)
    found = None
    if ref is not None:
        found = await asyncio.to_thread(explain, service.log, ref)
    return _found(found, "entry", entry_id)


@lookups.get(
    "/grants/{grant_id}",
    summary="A grant",
    operation_id="grant",
    response_model=q.GrantDetail,
    responses=problems("grant_not_found"),
)
async def grant(service: Running, grant_id: _Id, page: _Page) -> Response:
    """The grant, what is left of it now, and what happened to it since, newest first."""
    async with service.reads.connection() as connection:
        found = await balances.grant(connection, grant_id, service.now())
        found = found and await _with_history(connection, found, ids.GRANT, grant_id, page)
    return _found(found, "grant", grant_id)


@lookups.get(
    "/deductions/{deduction_id}",
    summary="A deduction",
    operation_id="deduction",
    response_model=q.DeductionDetail,
    responses=problems("deduction_not_found"),
)
async def deduction(service: Running, deduction_id: _Id, page: _Page) -> Response:
    """The deduction, how much of it was refunded, and what happened to it since, newest first."""
    async with service.reads.connection() as connection:
        found = await entries.deduction(connection, deduction_id)
        found = found and await _with_history(connection, found, ids.DEDUCTION, deduction_id, page)
    return _found(found, "deduction", deduction_id)


@lookups.get(
    "/holds/{hold_id}",
    summary="A hold",
    operation_id="hold",
    response_model=q.HoldDetail,
    responses=problems("hold_not_found"),
)
async def hold(service: Running, hold_id: _Id, page: _Page) -> Response:
    """The hold as it is now: one whose time is over has lapsed, written down or not.

    What happened to it is told newest first.
    """
    async with service.reads.connection() as connection:
        found = await holds.hold(connection, hold_id, service.now())
        found = found and await _with_history(connection, found, ids.HOLD, hold_id, page)
    return _found(found, "hold", hold_id)


@lookups.get(
    "/receipts/{receipt_id}",
    summary="A receipt",
    operation_id="receipt",
    response_model=q.ReceiptAnswer,
    responses=problems("receipt_not_found"),
)
async def receipt(
    service: Running,
    receipt_id: Annotated[Key, Path(description="The `rcp_` id, or your key of the command")],
    caller: Annotated[Caller, Depends(needs("read"))],
) -> Response:
    """What a command was told, by its `rcp_` id, or by the caller's own idempotency key."""
    known = ids.parse_stream_id(ids.RECEIPT, receipt_id)
    by_key = ids.receipt_uuid(caller.client_id, receipt_id)
    wanted = [by_key] if known is None else [known, by_key]
    kept = await asyncio.to_thread(service.store.receipts, wanted)
    found = next((_receipt(kept[name]) for name in wanted if name in kept), None)
    return _found(found, "receipt", receipt_id)


async def _with_history(
    connection: _Connection,
    found: Mapping[str, Any],
    prefix: str,
    subject: str,
    page: HistoryPage,
) -> dict[str, Any]:
    ref = ids.parse_event_id(prefix, subject)
    assert ref is not None, "what was found has an id that leads to it"
    told = await entries.history(connection, ref, limit=page.limit, cursor=page.cursor)
    return {**found, **told}


def _receipt(receipt: Receipt) -> dict[str, Any]:
    answer, asked = told_and_asked(receipt.answer)
    return {
        "receipt_id": receipt.public_id,
        "client_id": receipt.client_id,
        "idempotency_key": receipt.key,
        "command": receipt.command,
        "customer_id": receipt.customer_id,
        "asset": receipt.asset,
        "accepted": receipt.outcome == ACCEPTED,
        "outcome": receipt.outcome,
        "asked": asked,
        "answer": answer,
        "position": receipt.position,
        "recorded_at": answers.instant(receipt.recorded_at),
    }


def _found(found: Mapping[str, Any] | None, what: str, subject: str) -> Response:
    if found is None:
        detail = f"There is no {what} {subject}, or the read model has not seen it yet."
        raise Problem(f"{what}_not_found", detail, **{f"{what}_id": subject})
    return json_answer(found)
