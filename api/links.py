"""Links: whose each customer of a provider is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from creditledger.api.answers import Moment, Told
from creditledger.api.auth import needs
from creditledger.api.desk import Desk
from creditledger.api.entering import (
    ENTERED,
    ONCE,
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
from creditledger.api.values import CustomerId
from creditledger.domain.provider_commands import LinkCustomer, LinkOrigin, Provider
from creditledger.infra.clients import Caller
from creditledger.infra.wiring import Service
from creditledger.projections import links as read_model


class LinkBody(BaseModel):
    """Whose the provider's customer is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    customer_id: CustomerId


class LinkAnswer(Told):
    """A link as it stands."""

    provider: Provider
    provider_customer_id: str
    customer_id: str
    origin: LinkOrigin = Field(
        description="Who said so: a person, the customer's record, a purchase"
    )
    closed: bool = Field(description="Whether the provider deleted its customer")
    position: int


class ListedLink(LinkAnswer):
    """A link with when it last changed."""

    recorded_at: Moment


class LinkPage(Told):
    """A page of links."""

    links: list[ListedLink]
    next_cursor: str | None


class LinkFilter(Page):
    """Which links."""

    provider: Provider | None = None
    provider_customer_id: ProviderId | None = None
    customer_id: CustomerId | None = None


def links(service: Service, desk: Desk) -> APIRouter:
    """The routes of links."""
    router = APIRouter(prefix="/v1/links", tags=["Links"], route_class=StrictRoute)

    @router.put(
        "/{provider}/{provider_customer_id}",
        summary="Say whose a provider's customer is",
        operation_id="link_customer",
        response_model=LinkAnswer,
        responses={**ONCE, **problems(*ENTERED)},
        dependencies=[Depends(needs("admin"))],
    )
    async def link_customer(
        provider: ProviderInPath,
        provider_customer_id: Annotated[ProviderId, Path(examples=["cus_QXg1o8vcGmoR32"])],
        body: LinkBody,
        caller: Annotated[Caller, Depends(needs("admin"))],
        key: OptionalKey = None,
    ) -> Response:
        """Stands whatever the provider says; purchases that wait for it are booked."""
        command = LinkCustomer(
            provider=provider,
            provider_customer_id=provider_customer_id,
            customer_id=body.customer_id,
            origin="hand",
        )
        return entered(await enter(desk, caller, command, key))

    @router.get(
        "",
        summary="Links",
        operation_id="links",
        response_model=LinkPage,
        dependencies=[Depends(needs("read"))],
    )
    async def listed(query: Annotated[LinkFilter, Query()]) -> Response:
        """Whose the providers' customers are, last changed first."""
        await caught_up(service, "links")
        async with service.reads.connection() as connection:
            page = await read_model.links(
                connection,
                limit=query.limit,
                cursor=query.cursor,
                provider=query.provider,
                provider_customer_id=query.provider_customer_id,
                customer_id=query.customer_id,
            )
        return json_response(page)

    return router
