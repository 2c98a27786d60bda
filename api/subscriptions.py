"""Subscriptions: what plan each customer has at a provider, and all that was told of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import Field

from creditledger.api.answers import Figure, Moment, Told
from creditledger.api.auth import needs
from creditledger.api.entering import Label, ProviderId, json_response
from creditledger.api.openapi import problems
from creditledger.api.pages import Page
from creditledger.api.problems import Problem
from creditledger.api.reading import StrictRoute
from creditledger.api.values import CustomerId, IdText
from creditledger.domain.provider_commands import Provider
from creditledger.infra.wiring import Service
from creditledger.projections import subscriptions as read_model


class SubscriptionFilter(Page):
    """Which subscriptions."""

    customer_id: CustomerId | None = None
    provider: Provider | None = None
    provider_id: ProviderId | None = None
    status: Label | None = Field(default=None, description="The provider's own word")


class SubscriptionState(Told):
    """How a subscription stood at `as_of`, as the provider told it."""

    as_of: Moment
    status: str = Field(description="The provider's own word", examples=["active", "past_due"])
    price_id: str | None
    quantity: int = Field(description="Units of the price, seats for instance")
    cancel_at_period_end: bool
    current_period_start: Moment | None
    current_period_end: Moment | None
    started_at: Moment | None
    trial_ends_at: Moment | None
    ends_at: Moment | None = Field(description="When it will end, where that is settled")
    ended: bool = Field(description="Whether it will not bill again")
    ended_at: Moment | None
    pending_product_id: str | None = Field(
        description="The product whose plan begins with the next period, where it is another"
    )


class SubscriptionReport(SubscriptionState):
    """A report of a subscription, and when it was recorded here."""

    position: Figure
    recorded_at: Moment


class SubscriptionAnswer(SubscriptionState):
    """A subscription as its newest report says."""

    subscription_id: str
    provider: Provider
    provider_id: str = Field(examples=["sub_1PgafmB7WZ01zgkWSKzfN4Vb"])
    provider_customer_id: str | None
    customer_id: str
    history: list[SubscriptionReport] = Field(
        description="All reports by when the provider made them, the one that stands last"
    )
    position: Figure = Field(description="Of its first report")
    recorded_at: Moment = Field(description="When it was first told of here")


class SubscriptionPage(Told):
    """A page of subscriptions."""

    subscriptions: list[SubscriptionAnswer]
    next_cursor: str | None


def subscriptions(service: Service) -> APIRouter:
    """The routes of subscriptions."""
    router = APIRouter(
        prefix="/v1/subscriptions",
        tags=["Subscriptions"],
        route_class=StrictRoute,
        dependencies=[Depends(needs("read"))],
    )

    @router.get(
        "",
        summary="Subscriptions",
        operation_id="subscriptions",
        response_model=SubscriptionPage,
    )
    async def listed(query: Annotated[SubscriptionFilter, Query()]) -> Response:
        """Subscriptions of all providers, last begun first. Credits follow from paid bills alone:
        see the payments of a `subscription_id`."""
        async with service.reads.connection() as connection:
            page = await read_model.subscriptions(
                connection,
                limit=query.limit,
                cursor=query.cursor,
                customer_id=query.customer_id,
                status=query.status,
                provider=query.provider,
                provider_id=query.provider_id,
            )
        return json_response(page)

    @router.get(
        "/{subscription_id}",
        summary="A subscription",
        operation_id="subscription",
        response_model=SubscriptionAnswer,
        responses=problems("subscription_not_found"),
    )
    async def subscription(subscription_id: Annotated[IdText, Path()]) -> Response:
        """How it stands, and how it came to that."""
        async with service.reads.connection() as connection:
            found = await read_model.subscription(connection, subscription_id)
        if found is None:
            raise Problem(
                "subscription_not_found",
                f"There is no subscription {subscription_id}, or the read model has not seen it "
                "yet. Its id is not the provider's: that is found by `provider_id`.",
                subscription_id=subscription_id,
            )
        return json_response(found)

    return router
