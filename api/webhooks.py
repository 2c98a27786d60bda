"""Webhooks: what the providers deliver is checked, kept and answered; people look at what came."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import State
from starlette.types import Receive, Scope

from creditledger.api.answers import Moment, Told
from creditledger.api.auth import needs
from creditledger.api.desk import Desk
from creditledger.api.entering import (
    ENTERED,
    OptionalKey,
    ProviderId,
    enter,
    json_response,
)
from creditledger.api.openapi import problems
from creditledger.api.pages import Page
from creditledger.api.problems import Problem
from creditledger.api.reading import StrictRoute, headers_of, read_body
from creditledger.api.values import CustomerId, IdText, Text
from creditledger.domain.provider_commands import AssignPurchase, Provider
from creditledger.infra import deliveries
from creditledger.infra.clients import Caller
from creditledger.infra.delivery import (
    BODY_BYTES_MAX,
    DeliveryStatus,
    Malformed,
    read_delivery,
)
from creditledger.infra.intake import Intake
from creditledger.infra.settings import Settings
from creditledger.infra.signatures import Unreadable, Unsigned, verify
from creditledger.infra.wiring import Service

_Id = Annotated[IdText, Path(examples=["whd_0123456789abcdefghijklmnop"])]


class DeliveryFilter(Page):
    """Which deliveries."""

    status: DeliveryStatus | None = None
    reason: Annotated[str, Text(64, "^[a-z_]*$", "should be a code: a-z and _")] | None = None
    provider: Provider | None = None
    provider_delivery_id: ProviderId | None = None


class DeliveryAnswer(Told):
    """A delivery and what came of it."""

    delivery_id: str
    provider: Provider
    provider_delivery_id: str = Field(description="Stripe's event id, Polar's webhook-id")
    type: str | None
    status: DeliveryStatus
    reason: str | None
    detail: str | None
    waits_for: str | None = Field(description="What frees it when it is recorded")
    payment: str | None = Field(description="The provider's id of the payment it is about")
    position: int | None = Field(description="Where in the log stands what it brought about")
    tries: int
    received_at: Moment
    due_at: Moment
    settled_at: Moment | None


class DeliveryWithBody(DeliveryAnswer):
    """A delivery as it came."""

    trace: str | None = Field(description="Where in the service the last try failed")
    headers: dict[str, str]
    body: str


class DeliveryPage(Told):
    """A page of deliveries."""

    webhooks: list[DeliveryAnswer]
    next_cursor: str | None


class AssignBody(BaseModel):
    """Whose the purchase is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    customer_id: CustomerId


class Kept(Told):
    """The delivery is kept and will be booked."""

    delivery_id: str


def _signed(header: str, *others: str) -> dict[str, Any]:
    """What the OpenAPI document says of a request that is known by its signature."""
    text = {"schema": {"type": "string"}, "in": "header", "required": True}
    return {
        "parameters": [{"name": name, **text} for name in (header, *others)],
        "requestBody": {
            "required": True,
            "description": f"The bytes as they were signed, {BODY_BYTES_MAX} at most",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
    }


_REFUSALS: Final = problems("malformed_request", "unauthenticated", "body_too_large", "unavailable")


class _DoorRoute(APIRoute):
    """A route whose endpoint reads its request itself, on both ways (`api/express.py`)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint

    async def answer(
        self, _state: State, scope: Scope, receive: Receive, _params: Mapping[str, Any]
    ) -> Response:
        """What a provider is told. Raises Problem."""
        response: Response = await self.endpoint(Request(scope, receive))
        return response


def webhooks(service: Service, desk: Desk) -> APIRouter:
    """The routes of deliveries that are here."""
    router = APIRouter()
    router.include_router(_looking(service))
    router.include_router(_deciding(service, desk))
    return router


def doors(service: Service, intake: Intake) -> APIRouter:
    """The routes that providers deliver to."""
    router = APIRouter(prefix="/webhooks", tags=["Webhooks"], route_class=_DoorRoute)

    async def keep(provider: Provider, request: Request) -> Response:
        raw = headers_of(request.scope)
        body = await read_body(request.receive, raw, limit=BODY_BYTES_MAX)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw.items()}
        try:
            verify(provider, body, headers, secrets(service.settings, provider))
            delivery = read_delivery(provider, body, headers, service.now())
        except Unsigned as error:
            raise Problem("unauthenticated", f"Not taken: {error}.") from None
        except (Unreadable, Malformed) as error:
            raise Problem("malformed_request", f"Not taken: {error}.") from None
        await intake.keep(delivery)
        return json_response({"delivery_id": delivery.delivery_id}, 202)

    @router.post(
        "/stripe",
        summary="Stripe's events",
        operation_id="stripe_webhook",
        status_code=202,
        response_model=Kept,
        responses=_REFUSALS,
        openapi_extra=_signed("Stripe-Signature"),
    )
    async def stripe(request: Request) -> Response:
        """Known by its signature (`Stripe-Signature`). Answered once it is kept durably."""
        return await keep("stripe", request)

    @router.post(
        "/polar",
        summary="Polar's events",
        operation_id="polar_webhook",
        status_code=202,
        response_model=Kept,
        responses=_REFUSALS,
        openapi_extra=_signed("webhook-signature", "webhook-id", "webhook-timestamp"),
    )
    async def polar(request: Request) -> Response:
        """Known by its signature (`webhook-signature`). Answered once it is kept durably."""
        return await keep("polar", request)

    return router


def secrets(settings: Settings, provider: Provider) -> tuple[str, ...]:
    """The signing secrets of a provider, all of them valid."""
    found = (
        settings.stripe_webhook_secrets if provider == "stripe" else settings.polar_webhook_secrets
    )
    return tuple(secret.get_secret_value() for secret in found)


def _looking(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/webhooks", tags=["Webhooks"], route_class=StrictRoute)

    @router.get(
        "",
        summary="Deliveries",
        operation_id="webhooks",
        response_model=DeliveryPage,
        dependencies=[Depends(needs("read"))],
    )
    async def listed(query: Annotated[DeliveryFilter, Query()]) -> Response:
        """What the providers delivered and what came of it, newest first."""
        async with service.reads.connection() as connection:
            page = await deliveries.deliveries(
                connection,
                limit=query.limit,
                cursor=query.cursor,
                status=query.status,
                reason=query.reason,
                provider=query.provider,
                provider_delivery_id=query.provider_delivery_id,
            )
        return json_response(page)

    @router.get(
        "/{delivery_id}",
        summary="A delivery with its body",
        operation_id="webhook",
        response_model=DeliveryWithBody,
        responses=problems("delivery_not_found"),
        dependencies=[Depends(needs("admin"))],
    )
    async def one(delivery_id: _Id) -> Response:
        """Bodies hold names and addresses, so this needs the scope `admin`."""
        return json_response(await _find(service, delivery_id))

    return router


def _deciding(service: Service, desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/v1/webhooks", tags=["Webhooks"], route_class=StrictRoute)

    @router.post(
        "/{delivery_id}/replay",
        summary="Try a delivery again",
        operation_id="replay_webhook",
        status_code=202,
        response_model=DeliveryAnswer,
        responses=problems("delivery_not_found"),
        dependencies=[Depends(needs("admin"))],
    )
    async def replay(delivery_id: _Id) -> Response:
        """Whatever came of it before. What was booked is not booked twice."""
        async with service.reads.connection() as connection:
            await deliveries.replay(connection, delivery_id)
        return json_response(_brief(await _find(service, delivery_id)), 202)

    @router.post(
        "/{delivery_id}/assign",
        summary="Say whose a guest's purchase is",
        operation_id="assign_webhook",
        status_code=202,
        response_model=DeliveryAnswer,
        responses=problems(
            *ENTERED, "delivery_not_found", "payment_not_found", "payment_already_granted"
        ),
        dependencies=[Depends(needs("admin"))],
    )
    async def assign(
        delivery_id: _Id,
        body: AssignBody,
        caller: Annotated[Caller, Depends(needs("admin"))],
        key: OptionalKey = None,
    ) -> Response:
        """The purchase that it tells of is booked for this customer; its other news as well."""
        found = await _find(service, delivery_id)
        if found["payment"] is None:
            raise Problem(
                "payment_not_found",
                f"The delivery {delivery_id} tells of no purchase, or was not tried yet.",
                delivery_id=delivery_id,
            )
        command = AssignPurchase(
            provider=found["provider"],
            provider_id=found["payment"],
            customer_id=body.customer_id,
        )
        await enter(desk, caller, command, key)
        async with service.reads.connection() as connection:
            await deliveries.replay(connection, delivery_id)
        return json_response(_brief(await _find(service, delivery_id)), 202)

    return router


async def _find(service: Service, delivery_id: str) -> dict[str, Any]:
    async with service.reads.connection() as connection:
        found = await deliveries.delivery(connection, delivery_id)
    if found is None:
        raise Problem(
            "delivery_not_found",
            f"There is no delivery {delivery_id}, or it was deleted after its time.",
            delivery_id=delivery_id,
        )
    return found


_IN_FULL_ALONE: Final = ("trace", "headers", "body")


def _brief(found: dict[str, Any]) -> dict[str, Any]:
    """Without what may hold personal data."""
    return {name: value for name, value in found.items() if name not in _IN_FULL_ALONE}
