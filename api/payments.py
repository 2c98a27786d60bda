"""Payments: what came at the providers, what it granted, and what was refunded of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import Field

from creditledger.api.answers import Figure, Moment, Told
from creditledger.api.auth import needs
from creditledger.api.entering import ProviderId, json_response
from creditledger.api.openapi import problems
from creditledger.api.pages import Page
from creditledger.api.problems import Problem
from creditledger.api.reading import StrictRoute
from creditledger.api.values import CustomerId, IdText, QueryTime
from creditledger.domain.payment import PaymentStatus
from creditledger.domain.provider_commands import Provider, RefundStatus
from creditledger.infra.wiring import Service
from creditledger.projections import payments as read_model


class PaymentFilter(Page):
    """Which payments."""

    customer_id: CustomerId | None = None
    status: PaymentStatus | None = None
    provider: Provider | None = None
    provider_id: ProviderId | None = None
    since: QueryTime | None = Field(default=None, description="Paid at or after this moment")
    until: QueryTime | None = Field(default=None, description="Paid before this moment")


class PaidLine(Told):
    """One thing that was bought."""

    price_id: str | None
    quantity: int
    asset: str | None
    credits: Figure = Field(description="What all its units were worth on that day")


class GrantOfPayment(Told):
    """One grant that the payment brought about."""

    grant_id: str
    asset: str
    granted: Figure
    revoked: int = Field(description="Less what was reinstated, by whomever")


class RefundOfPayment(Told):
    """A refund as the provider last told of it."""

    refund_id: str
    amount: Figure
    currency: str
    status: RefundStatus


class PaymentAnswer(Told):
    """A payment as it stands; amounts of money are in minor units of its currency."""

    payment_id: str
    provider: Provider
    provider_id: str = Field(description="The provider's object that identifies it")
    provider_customer_id: str | None
    customer_id: str | None = Field(description="null as long as nobody knows whose it is")
    status: PaymentStatus = Field(description="`parked`: it came, and is not granted yet")
    paid: Figure
    refunded: Figure
    disputed: Figure
    currency: str
    granted: Figure | None = Field(description="null where it granted several assets: see grants")
    revoked: int | None
    grants: list[GrantOfPayment]
    lines: list[PaidLine]
    refunds: list[RefundOfPayment]
    disputes: list[Told]
    paid_at: Moment
    recorded_at: Moment
    position: int


class PaymentPage(Told):
    """A page of payments."""

    payments: list[PaymentAnswer]
    next_cursor: str | None


def payments(service: Service) -> APIRouter:
    """The routes of payments."""
    router = APIRouter(
        prefix="/v1/payments",
        tags=["Payments"],
        route_class=StrictRoute,
        dependencies=[Depends(needs("read"))],
    )

    @router.get("", summary="Payments", operation_id="payments", response_model=PaymentPage)
    async def listed(query: Annotated[PaymentFilter, Query()]) -> Response:
        """Payments of all providers, last recorded first."""
        async with service.reads.connection() as connection:
            page = await read_model.payments(
                connection,
                limit=query.limit,
                cursor=query.cursor,
                customer_id=query.customer_id,
                status=query.status,
                provider=query.provider,
                provider_id=query.provider_id,
                since=query.since,
                until=query.until,
            )
        return json_response(page)

    @router.get(
        "/{payment_id}",
        summary="A payment",
        operation_id="payment",
        response_model=PaymentAnswer,
        responses=problems("payment_not_found"),
    )
    async def payment(payment_id: Annotated[IdText, Path()]) -> Response:
        """What was paid, granted, refunded and revoked."""
        async with service.reads.connection() as connection:
            found = await read_model.payment(connection, payment_id)
        if found is None:
            raise Problem(
                "payment_not_found",
                f"There is no payment {payment_id}, or the read model has not seen it yet.",
                payment_id=payment_id,
            )
        return json_response(found)

    return router
