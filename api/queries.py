"""Queries: balances, histories, holds, grants, deductions, receipts. None of them changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Query, Response
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pydantic import BaseModel, ConfigDict, Field

from creditledger.api import query_answers as q
from creditledger.api.auth import needs
from creditledger.api.openapi import problems
from creditledger.api.pages import Page
from creditledger.api.problems import Problem, invalid
from creditledger.api.reading import StrictRoute
from creditledger.api.values import (
    Asset,
    CustomerId,
    Feature,
    IdText,
    Key,
    Position,
    QueryTime,
    Text,
)
from creditledger.domain import answers, ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.books import rebuild
from creditledger.domain.receipt import ACCEPTED, Receipt
from creditledger.infra.clients import Caller
from creditledger.infra.wiring import Service
from creditledger.projections import balances, checkpoints, entries, holds, refusals
from creditledger.projections.entry_lines import KINDS
from creditledger.projections.explanation import explain

#: How long a reader waits for the read model to reach a position, before it is told to come back.
_CATCH_UP_SECONDS: Final = 5.0

#: What happened to one thing, told with it; the rest is in the customer's entries.
_HISTORY_MAX: Final = 100

_Connection = AsyncConnection[TupleRow]


Kind = Annotated[str, Text(32, rf"^({'|'.join(KINDS)})$", f"should be one of {', '.join(KINDS)}")]


class BalanceFilter(BaseModel):
    """Which balances, and as of when."""

    model_config = ConfigDict(extra="forbid")

    asset: Asset | None = None
    after_position: Position | None = Field(
        default=None, description="Wait, some seconds at most, until the answer shows this position"
    )
    consistency: Literal["exact"] | None = Field(
        default=None, description="`exact` answers from the events, not from the read model"
    )
    at: QueryTime | None = Field(
        default=None, description="As of this moment, past or future; answered from the events"
    )


class EntryFilter(Page):
    """Which entries."""

    asset: Asset | None = None
    kind: Kind | None = None
    feature: Feature | None = None
    since: QueryTime | None = Field(default=None, description="Recorded at or after this moment")
    until: QueryTime | None = Field(default=None, description="Recorded before this moment")


class HoldFilter(Page):
    """Which holds."""

    asset: Asset | None = None
    status: Literal["open", "captured", "released", "lapsed"] | None = None


class RefusalFilter(Page):
    """Which refusals."""

    asset: Asset | None = None
    code: Annotated[str, Text(64)] | None = Field(
        default=None, description="Why it was refused", examples=["insufficient_credits"]
    )


_Customer = Annotated[CustomerId, Path()]
_Id = Annotated[IdText, Path()]


def queries(service: Service) -> APIRouter:
    """The routes that read about customers and what happened to their credits."""
    router = APIRouter(tags=["Queries"], dependencies=[Depends(needs("read"))])
    router.include_router(_about_customers(service))
    router.include_router(_about_things(service))
    return router


def _about_customers(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/customers/{customer_id}", route_class=StrictRoute)

    @router.get(
        "/balance",
        summary="A customer's balances",
        operation_id="balance",
        response_model=q.BalancesAnswer,
        responses=problems("read_model_behind"),
    )
    async def balance(customer_id: _Customer, query: Annotated[BalanceFilter, Query()]) -> Response:
        """Available, held and scheduled credits of each asset, with the lots in burn order.

        A customer that was never seen has zeros. An expired lot never shows as available, even
        before its expiry is written down.
        """
        if query.at is not None or query.consistency is not None:
            return _json(await _from_events(service, customer_id, query))
        await _catch_up(service, "balances", query.after_position)
        async with service.reads.connection() as connection:
            found = await balances.balances(
                connection, customer_id, service.now(), asset=query.asset
            )
        return _json(found)

    @router.get(
        "/entries",
        summary="A customer's history",
        operation_id="entries",
        response_model=q.EntryPage,
    )
    async def history(customer_id: _Customer, query: Annotated[EntryFilter, Query()]) -> Response:
        """One entry for each event, newest first, each with the lots that it touched."""
        async with service.reads.connection() as connection:
            found = await entries.entries(
                connection,
                customer_id,
                limit=query.limit,
                cursor=query.cursor,
                asset=query.asset,
                kind=query.kind,
                feature=query.feature,
                since=query.since,
                until=query.until,
            )
        return _json(found)

    @router.get(
        "/holds",
        summary="A customer's holds",
        operation_id="holds",
        response_model=q.HoldPage,
    )
    async def all_holds(customer_id: _Customer, query: Annotated[HoldFilter, Query()]) -> Response:
        """Open and closed holds as they are now, newest first."""
        async with service.reads.connection() as connection:
            found = await holds.holds(
                connection,
                customer_id,
                service.now(),
                limit=query.limit,
                cursor=query.cursor,
                asset=query.asset,
                status=query.status,
            )
        return _json(found)

    @router.get(
        "/refusals",
        summary="A customer's refused commands",
        operation_id="refusals",
        response_model=q.RefusalPage,
    )
    async def refused(customer_id: _Customer, query: Annotated[RefusalFilter, Query()]) -> Response:
        """What was asked, why it was refused, and what was there then; newest first."""
        async with service.reads.connection() as connection:
            found = await refusals.refusals(
                connection,
                customer_id,
                limit=query.limit,
                cursor=query.cursor,
                asset=query.asset,
                code=query.code,
            )
        return _json(found)

    return router


def _about_things(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1", route_class=StrictRoute)

    @router.get(
        "/entries/{entry_id}/explanation",
        summary="Why these lots",
        operation_id="explain",
        response_model=q.ExplanationAnswer,
        responses=problems("entry_not_found"),
    )
    async def explanation(entry_id: _Id) -> Response:
        """For each lot touched: its place in the burn order, what it cost, which payment paid."""
        ref = ids.parse_event_id(ids.ENTRY, entry_id)
        found = None
        if ref is not None:
            found = await asyncio.to_thread(explain, service.log, ref)
        return _found(found, "entry", entry_id)

    @router.get(
        "/grants/{grant_id}",
        summary="A grant",
        operation_id="grant",
        response_model=q.GrantDetail,
        responses=problems("grant_not_found"),
    )
    async def grant(grant_id: _Id) -> Response:
        """The grant, what is left of it now, and what happened to it since."""
        async with service.reads.connection() as connection:
            found = await balances.grant(connection, grant_id, service.now())
            found = found and await _with_history(connection, found, ids.GRANT, grant_id)
        return _found(found, "grant", grant_id)

    @router.get(
        "/deductions/{deduction_id}",
        summary="A deduction",
        operation_id="deduction",
        response_model=q.DeductionDetail,
        responses=problems("deduction_not_found"),
    )
    async def deduction(deduction_id: _Id) -> Response:
        """The deduction, how much of it was refunded, and what happened to it since."""
        async with service.reads.connection() as connection:
            found = await entries.deduction(connection, deduction_id)
            found = found and await _with_history(connection, found, ids.DEDUCTION, deduction_id)
        return _found(found, "deduction", deduction_id)

    @router.get(
        "/holds/{hold_id}",
        summary="A hold",
        operation_id="hold",
        response_model=q.HoldDetail,
        responses=problems("hold_not_found"),
    )
    async def hold(hold_id: _Id) -> Response:
        """The hold as it is now: one whose time is over has lapsed, written down or not."""
        async with service.reads.connection() as connection:
            found = await holds.hold(connection, hold_id, service.now())
            found = found and await _with_history(connection, found, ids.HOLD, hold_id)
        return _found(found, "hold", hold_id)

    @router.get(
        "/receipts/{receipt_id}",
        summary="A receipt",
        operation_id="receipt",
        response_model=q.ReceiptAnswer,
        responses=problems("receipt_not_found"),
    )
    async def receipt(
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

    return router


async def _catch_up(service: Service, name: str, position: int | None) -> None:
    """Wait until the read model shows this position. Raises Problem where that takes too long."""
    if position is None or await checkpoints.reached(
        service.reads.connection, name, position, timeout_seconds=_CATCH_UP_SECONDS
    ):
        return
    raise Problem(
        "read_model_behind",
        f"The read model {name} has not reached position {position} within "
        f"{_CATCH_UP_SECONDS:.0f} s. Ask again, or ask with consistency=exact.",
        {"Retry-After": "1"},
        position=position,
    )


async def _from_events(
    service: Service, customer_id: str, query: BalanceFilter
) -> Mapping[str, Any]:
    """The balances as the events say them, at `at` or now."""
    if query.at is not None and query.after_position is not None:
        raise invalid("after_position", "cannot stand beside at")
    now = service.now()
    moment = query.at or now
    async with service.reads.connection() as connection:
        assets = [query.asset] if query.asset else await balances.assets(connection, customer_id)
    streams = [ids.account_id(customer_id, asset) for asset in assets]
    accounts, position = await asyncio.to_thread(_accounts_at, service, streams, moment, now)
    found = balances.balances_answer(customer_id, accounts, moment, asset=query.asset)
    return {**found, "at": answers.instant(moment), "position": position}


def _accounts_at(
    service: Service, streams: list[UUID], moment: datetime, now: datetime
) -> tuple[list[CreditAccount], int]:
    # The head is read first, so that the answer shows at least what the position promises.
    position = service.log.head()
    accounts = []
    if moment < now:
        stored = {stream: service.log.state_at(stream, moment) for stream in streams}
    else:
        stored = dict(service.store.load(streams))
    for stream, kept in stored.items():
        account = rebuild(CreditAccount, stream, kept)
        assert isinstance(account, CreditAccount)
        if account.version:
            accounts.append(account)
    return accounts, position


async def _with_history(
    connection: _Connection, found: Mapping[str, Any], prefix: str, subject: str
) -> dict[str, Any]:
    ref = ids.parse_event_id(prefix, subject)
    assert ref is not None, "what was found has an id that leads to it"
    page = await entries.history(connection, ref, limit=_HISTORY_MAX)
    return {**found, "history": page["history"]}


def _receipt(receipt: Receipt) -> dict[str, Any]:
    return {
        "receipt_id": receipt.public_id,
        "client_id": receipt.client_id,
        "idempotency_key": receipt.key,
        "command": receipt.command,
        "customer_id": receipt.customer_id,
        "asset": receipt.asset,
        "accepted": receipt.outcome == ACCEPTED,
        "outcome": receipt.outcome,
        "answer": receipt.answer,
        "position": receipt.position,
        "recorded_at": answers.instant(receipt.recorded_at),
    }


def _found(found: Mapping[str, Any] | None, what: str, subject: str) -> Response:
    if found is None:
        detail = f"There is no {what} {subject}, or the read model has not seen it yet."
        raise Problem(f"{what}_not_found", detail, **{f"{what}_id": subject})
    return _json(found)


def _json(body: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
