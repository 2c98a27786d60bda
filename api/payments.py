"""Payments: what came at the providers, what it granted, and what was taken back of it."""

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
from creditledger.domain.provider_commands import DisputeStanding, Provider, RefundStatus
from creditledger.infra.wiring import Service
from creditledger.projections import payments as read_model


class PaymentFilter(Page):
    """Which payments."""

    customer_id: CustomerId | None = None
    subscription_id: IdText | None = Field(
        default=None, description="What was paid for this subscription"
    )
    status: PaymentStatus | None = None
    provider: Provider | None = None
    provider_id: ProviderId | None = None
    since: QueryTime | None = Field(default=None, description="Paid at or after this moment")
    until: QueryTime | None = Field(default=None, description="Paid before this moment")


class PaidPeriod(Told):
    """From `start` up to `end`."""

    start: Moment
    end: Moment


class PaidLine(Told):
    """One thing that was bought."""

    price_id: str | None
    quantity: int
    asset: str | None
    credits: int = Field(
        description="What all its units were worth on that day; below zero where a change of plan "
        "gives the rest of the old plan back"
    )
    period: PaidPeriod | None = Field(
        description="The time of a subscription that it pays for, null where it is bought for good"
    )
    proration: bool = Field(description="Whether it changes the plan within a period")


class GrantOfPayment(Told):
    """One grant that the payment brought about."""

    grant_id: str
    asset: str
    granted: Figure = Field(description="What of it is the payment's: less what was withdrawn")
    revoked: Figure = Field(description="Less what was reinstated, by whomever")
    withdrawn: Figure = Field(
        description="What went to an earlier payment of the same period that was told of later"
    )


class RefundOfPayment(Told):
    """A refund as the provider last told of it."""

    refund_id: str
    amount: Figure
    currency: str
    status: RefundStatus


class DisputeOfPayment(Told):
    """A dispute as the provider last told of it."""

    dispute_id: str
    amount: Figure
    currency: str
    standing: DisputeStanding = Field(
        description="`open` and `lost` take the money; `inquiry` does not, and `won` gives it "
        "back; what was `prevented` is told as a refund"
    )
    status: str = Field(description="The provider's own word", examples=["needs_response"])
    as_of: Moment


class PaymentAnswer(Told):
    """A payment as it stands; amounts of money are in minor units of its currency."""

    payment_id: str
    provider: Provider
    provider_id: str = Field(description="The provider's object that identifies it")
    provider_customer_id: str | None
    customer_id: str | None = Field(description="null as long as nobody knows whose it is")
    subscription_id: str | None = Field(description="null where it pays for none")
    status: PaymentStatus = Field(
        description="`parked`: it came, and is not granted yet; `disputed`: a dispute is open; "
        "`charged_back`: one was lost"
    )
    paid: Figure
    refunded: Figure
    disputed: Figure = Field(description="What banks took back and did not return")
    currency: str
    granted: Figure | None = Field(description="null where it granted several assets: see grants")
    revoked: Figure | None
    grants: list[GrantOfPayment]
    lines: list[PaidLine]
    refunds: list[RefundOfPayment]
    disputes: list[DisputeOfPayment]
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
                subscription_id=query.subscription_id,
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
        """What was paid, granted, refunded, disputed and revoked."""
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
