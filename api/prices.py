"""Prices: what each price of a provider is worth in credits; and the provider's products."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from creditledger.api.answers import Figure, Moment, Told
from creditledger.api.auth import needs
from creditledger.api.desk import Desk
from creditledger.api.entering import (
    ENTERED,
    LABEL_LENGTH_MAX,
    ONCE,
    Label,
    OptionalKey,
    ProviderId,
    ProviderInPath,
    caught_up,
    enter,
    entered,
    json_response,
)
from creditledger.api.openapi import problems
from creditledger.api.pages import Page
from creditledger.api.reading import StrictRoute
from creditledger.api.values import PRINTABLE, AmountOrZero, Asset, ExpiresAfterDays
from creditledger.domain.amounts import CREDITS_MAX, Credits
from creditledger.domain.price import PriceOrigin
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


class ListedPrice(Told):
    """A price as it stands, with when it last changed.

    Until somebody says what a price is worth that only the provider's catalogue told of, `credits`,
    `asset`, `kind` and `origin` are null, and what is bought with it waits.
    """

    provider: Provider
    price_id: str
    product_id: str | None = Field(description="null where the provider's catalogue does not tell")
    active: bool | None = Field(
        description="Whether it is on sale there, null where the catalogue does not tell; what is "
        "not is honoured all the same"
    )
    credits: Figure | None = Field(description="null as long as nobody knows")
    asset: str | None
    kind: PriceKind | None
    name: str | None
    expires_after_days: int | None
    plan_family: str | None
    version: str | int | None
    internal_id: str | None = Field(description="The merchant's own name for it, where learned")
    origin: PriceOrigin | None = Field(
        description="`entered` by a person, or `learned` from the provider"
    )
    position: Figure
    recorded_at: Moment


class PricePage(Told):
    """A page of prices."""

    prices: list[ListedPrice]
    next_cursor: str | None


class CatalogueFilter(Page):
    """Which prices or products."""

    provider: Provider | None = None
    product_id: ProviderId | None = None


class ListedProduct(Told):
    """A product of a provider's catalogue, as it stood there at `as_of`."""

    provider: Provider
    product_id: str
    name: str | None
    active: bool = Field(description="Whether it is on sale there")
    plan_family: str | None
    version: str | None
    as_of: Moment
    position: Figure
    recorded_at: Moment


class ProductPage(Told):
    """A page of products."""

    products: list[ListedProduct]
    next_cursor: str | None


def prices(service: Service, desk: Desk) -> APIRouter:
    """The routes of the price book."""
    router = APIRouter(prefix="/v1/prices", tags=["Prices"], route_class=StrictRoute)

    @router.put(
        "/{provider}/{price_id}",
        summary="Say what a price is worth",
        operation_id="set_price",
        response_model=PriceAnswer,
        responses={**ONCE, **problems(*ENTERED)},
        dependencies=[Depends(needs("admin"))],
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
        return entered(await enter(desk, caller, command, key))

    @router.get(
        "",
        summary="Prices",
        operation_id="prices",
        response_model=PricePage,
        dependencies=[Depends(needs("read"))],
    )
    async def listed(query: Annotated[CatalogueFilter, Query()]) -> Response:
        """What each price is worth now, last changed first."""
        await caught_up(service, "prices")
        async with service.reads.connection() as connection:
            page = await read_model.prices(
                connection,
                limit=query.limit,
                cursor=query.cursor,
                provider=query.provider,
                product_id=query.product_id,
            )
        return json_response(page)

    return router


def products(service: Service) -> APIRouter:
    """The route of the providers' products."""
    router = APIRouter(prefix="/v1/products", tags=["Prices"], route_class=StrictRoute)

    @router.get(
        "",
        summary="Products",
        operation_id="products",
        response_model=ProductPage,
        dependencies=[Depends(needs("read"))],
    )
    async def listed(query: Annotated[CatalogueFilter, Query()]) -> Response:
        """What the providers' catalogues tell of their products, last changed first."""
        await caught_up(service, "prices")
        async with service.reads.connection() as connection:
            page = await read_model.products(
                connection,
                limit=query.limit,
                cursor=query.cursor,
                provider=query.provider,
                product_id=query.product_id,
            )
        return json_response(page)

    return router
