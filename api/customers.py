"""What a customer has, and what happened to it: balances, entries, holds, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.datastructures import State
from starlette.types import Receive, Scope

from creditledger.api import query_answers as q
from creditledger.api.auth import caller_of, needs
from creditledger.api.openapi import problems
from creditledger.api.pages import Page
from creditledger.api.problems import RETRY_AFTER_SECONDS, Problem, invalid, unfit_by_shape
from creditledger.api.reading import StrictRoute, headers_of, query_of
from creditledger.api.serving import Balances, Running, json_answer
from creditledger.api.values import Asset, CustomerId, Feature, Position, QueryTime, Text
from creditledger.domain import answers, ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.books import rebuild
from creditledger.infra.wiring import Service
from creditledger.projections import balances, checkpoints, entries, holds, refusals
from creditledger.projections.entry_lines import KINDS

#: How long a reader waits for the read model to reach a position, before it is told to come back.
_CATCH_UP_SECONDS: Final = 5.0

customers: Final = APIRouter(
    prefix="/v1/customers/{customer_id}",
    tags=["Queries"],
    route_class=StrictRoute,
    dependencies=[Depends(needs("read"))],
)

_Customer = Annotated[CustomerId, Path()]

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


_CUSTOMER_ID: Final = TypeAdapter(CustomerId).validate_python
_EVERY_BALANCE: Final = BalanceFilter()


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


class BalanceRoute(StrictRoute):
    """A route that reads its request itself, as commands do: nothing is asked for as often."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            state = request.app.state
            return await self.answer(state, request.scope, request.receive, request.path_params)

        return handle

    async def answer(
        self, state: State, scope: Scope, _: Receive, params: Mapping[str, Any]
    ) -> Response:
        """What a query for balances is told; `params` are what the path names. Raises Problem."""
        headers, query = headers_of(scope), query_of(scope)
        await caller_of(state.authenticator, headers, "read")
        errors: list[Any] = []
        customer_id, which = "", _EVERY_BALANCE
        try:
            customer_id = _CUSTOMER_ID(params["customer_id"])
        except ValidationError as error:
            errors += [{**one, "loc": ("customer_id",)} for one in error.errors()]
        try:
            which = BalanceFilter.model_validate(query) if query else which
        except ValidationError as error:
            errors += error.errors()
        if errors:
            raise unfit_by_shape(errors)
        return await balance(state.service, state.balances, customer_id, which)


async def balance(
    service: Running,
    desk: Balances,
    customer_id: _Customer,
    query: Annotated[BalanceFilter, Query()],
) -> Response:
    """Available, held and scheduled credits of each asset, with the lots in burn order.

    A customer that was never seen has zeros. An expired lot never shows as available, even
    before its expiry is written down.
    """
    if query.at is not None or query.consistency is not None:
        return json_answer(await _from_events(service, customer_id, query))
    await _catch_up(service, "balances", query.after_position)
    return json_answer(await desk.balances(customer_id, query.asset))


customers.add_api_route(
    "/balance",
    balance,
    methods=["GET"],
    route_class_override=BalanceRoute,
    summary="A customer's balances",
    operation_id="balance",
    response_model=q.BalancesAnswer,
    responses=problems("read_model_behind"),
)


@customers.get(
    "/entries",
    summary="A customer's history",
    operation_id="entries",
    response_model=q.EntryPage,
)
async def history(
    service: Running, customer_id: _Customer, query: Annotated[EntryFilter, Query()]
) -> Response:
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
    return json_answer(found)


@customers.get(
    "/holds",
    summary="A customer's holds",
    operation_id="holds",
    response_model=q.HoldPage,
)
async def all_holds(
    service: Running, customer_id: _Customer, query: Annotated[HoldFilter, Query()]
) -> Response:
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
    return json_answer(found)


@customers.get(
    "/refusals",
    summary="A customer's refused commands",
    operation_id="refusals",
    response_model=q.RefusalPage,
)
async def refused(
    service: Running, customer_id: _Customer, query: Annotated[RefusalFilter, Query()]
) -> Response:
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
    return json_answer(found)


async def _catch_up(service: Service, name: str, position: int | None) -> None:
    """Wait until the read model shows this position.

    Raises Problem where that takes too long, or the log has no such position to wait for.
    """
    if position is None or await _reached(service, name, position, 0.0):
        return
    head = await asyncio.to_thread(service.log.head)
    if position > head:
        raise _past_the_log(position, head)
    if await _reached(service, name, position, _CATCH_UP_SECONDS):
        return
    raise Problem(
        "read_model_behind",
        f"The read model {name} has not reached position {position} within "
        f"{_CATCH_UP_SECONDS:.0f} s. Ask again, or ask with consistency=exact.",
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
        position=position,
    )


def _past_the_log(position: int, head: int) -> Problem:
    return invalid("after_position", f"is {position}, and the log ends at {head}")


async def _reached(service: Service, name: str, position: int, seconds: float) -> bool:
    connect = service.reads.connection
    return await checkpoints.reached(connect, name, position, timeout_seconds=seconds)


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
    if query.after_position is not None and query.after_position > position:
        raise _past_the_log(query.after_position, position)
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
    # In the order of the streams, which is that of the assets.
    for stream in streams:
        if stream in stored:
            account = rebuild(CreditAccount, stream, stored[stream])
            assert isinstance(account, CreditAccount)
            if account.version:
                accounts.append(account)
    return accounts, position
