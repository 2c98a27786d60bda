"""Prices: what each price of a provider is worth in credits."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from creditledger.api.answers import Moment, Told
from creditledger.api.auth import needs
from creditledger.api.desk import Desk
from creditledger.api.entering import (
    ENTERED,
    LABEL_LENGTH_MAX,
    Label,
    OptionalKey,
    ProviderId,
    ProviderInPath,
    caught_up,
    enter,
    json_response,
)
from creditledger.api.openapi import problems
from creditledger.api.pages import Page
from creditledger.api.reading import StrictRoute
from creditledger.api.values import PRINTABLE, AmountOrZero, Asset, ExpiresAfterDays
from creditledger.domain.amounts import CREDITS_MAX, Credits
from creditledger.domain.provider_commands import PriceKind, Provider, SetPrice
from creditledger.infra.clients import Caller
from creditledger.infra.wiring import Service
from creditledger.projections import prices as read_model


def _version(value: object) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= CREDITS_MAX:
        return value
    if isinstance(value, str) and re.fullmatch(_VERSION_TEXT, value):
        return value
    raise PydanticCustomError(
        "version", "should be a whole number, or a text of 1 to 255 printable characters"
    )


_VERSION_TEXT: Final = PRINTABLE.replace("*$", f"{{1,{LABEL_LENGTH_MAX}}}$")

#: What a plan's version is called, in numbers or in words.
Version = Annotated[
    str | int,
    PlainValidator(_version),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": CREDITS_MAX},
                {"type": "string", "pattern": _VERSION_TEXT},
            ]
        }
    ),
]


class PriceBody(BaseModel):
    """What one unit of the price is worth."""

    model_config = ConfigDict(extra="forbid", strict=True)

    credits: AmountOrZero = Field(description="0 or more", examples=[500])
    asset: Asset = "credits"
    kind: PriceKind = Field(
        default="one_time", description="`usage` is billed after use and worth no credits"
    )
    name: Label | None = Field(default=None, examples=["500 credits"])
    expires_after_days: ExpiresAfterDays | None = Field(
        default=None,
        description="Counted from the payment; without it 365 for one-time prices, and the paid "
        "period for recurring ones",
    )
    plan_family: Label | None = None
    version: Version | None = None


class PriceAnswer(Told):
    """A price as it stands."""

    provider: Provider
    price_id: str
    credits: int
    asset: str
    kind: PriceKind
    name: str | None
    expires_after_days: int | None
    plan_family: str | None
    version: str | int | None
    origin: str = Field(description="`entered` by a person, or `learned` from the provider")
    position: int


class ListedPrice(PriceAnswer):
    """A price with when it was set."""

    recorded_at: Moment


class PricePage(Told):
    """A page of prices."""

    prices: list[ListedPrice]
    next_cursor: str | None


class PriceFilter(Page):
    """Which prices."""

    provider: Provider | None = None


def prices(service: Service, desk: Desk) -> APIRouter:
    """The routes of the price book."""
    router = APIRouter(prefix="/v1/prices", tags=["Prices"], route_class=StrictRoute)

    @router.put(
        "/{provider}/{price_id}",
        summary="Say what a price is worth",
        operation_id="set_price",
        response_model=PriceAnswer,
        responses=problems(*ENTERED),
    )
    async def set_price(
        provider: ProviderInPath,
        price_id: Annotated[ProviderId, Path(examples=["price_1PgafmB7WZ01zgkW6dKueIc5"])],
        body: PriceBody,
        caller: Annotated[Caller, Depends(needs("admin"))],
        key: OptionalKey = None,
    ) -> Response:
        """What was granted before keeps its worth; purchases that wait for the price are booked."""
        command = SetPrice(
            provider=provider,
            price_id=price_id,
            credits=Credits(body.credits),
            asset=body.asset,
            kind=body.kind,
            name=body.name,
            expires_after_days=body.expires_after_days,
            plan_family=body.plan_family,
            version=body.version,
        )
        return json_response(await enter(desk, caller, command, key))

    @router.get(
        "",
        summary="Prices",
        operation_id="prices",
        response_model=PricePage,
        dependencies=[Depends(needs("read"))],
    )
    async def listed(query: Annotated[PriceFilter, Query()]) -> Response:
        """What each price is worth now, last set first."""
        await caught_up(service, "prices")
        async with service.reads.connection() as connection:
            page = await read_model.prices(
                connection, limit=query.limit, cursor=query.cursor, provider=query.provider
            )
        return json_response(page)

    return router
