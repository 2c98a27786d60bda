"""The HTTP API, put together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from functools import partial
from typing import Final

import psycopg
import psycopg_pool
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from creditledger.api import openapi, problems
from creditledger.api.balance_desk import BalanceDesk
from creditledger.api.batches import batches
from creditledger.api.commands import commands
from creditledger.api.customers import customers
from creditledger.api.desk import Desk
from creditledger.api.events import events
from creditledger.api.express import Express
from creditledger.api.guard import Guard
from creditledger.api.links import links
from creditledger.api.lookups import lookups
from creditledger.api.manual import manual
from creditledger.api.metrics import Metrics
from creditledger.api.operations import operations
from creditledger.api.paths import SlashesInSegments
from creditledger.api.payments import payments
from creditledger.api.prices import prices, products
from creditledger.api.problems import Problem
from creditledger.api.subscriptions import subscriptions
from creditledger.api.webhooks import doors, webhooks
from creditledger.domain.errors import LedgerError
from creditledger.domain.store import Unavailable
from creditledger.infra.intake import Intake
from creditledger.infra.wiring import Service

#: The database, or the way to it, is in trouble: it passes by itself.
_UNREACHABLE: Final = (
    Unavailable,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg_pool.PoolTimeout,
    psycopg_pool.PoolClosed,
)

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def create_app(service: Service, metrics: Metrics | None = None) -> ASGIApp:
    """The API of a service; `metrics` are those that its writer is observed by."""
    metrics = metrics or Metrics()
    desk = Desk(service, metrics)
    intake = Intake(service.stream.put)
    app = FastAPI(
        title="Credit Ledger",
        lifespan=_lifespan(service, desk, intake),
        docs_url=None,
        redoc_url=None,
        # A body without a Content-Type is taken as JSON, as commands take it: keys are in a header
        # of their own, which no page of a browser can be made to send.
        strict_content_type=False,
        generate_unique_id_function=_operation_id,
        exception_handlers={HTTPException: _told, RequestValidationError: _unfit},
    )
    app.state.service = service
    app.state.authenticator = service.authenticator
    app.state.balances = BalanceDesk(service.reads, service.now)
    app.state.desk = desk
    # What is asked for most comes first, and in the application itself: routers that are included
    # in it are searched anew for each request, which takes a quarter of a command's time.
    for often in (commands, customers, batches, lookups):
        app.router.routes.extend(often.routes)
    app.include_router(events(service))
    app.include_router(payments(service))
    app.include_router(subscriptions(service))
    app.include_router(prices(service, desk))
    app.include_router(products(service))
    app.include_router(links(service, desk))
    app.router.routes.extend(doors(service, intake).routes)
    app.include_router(webhooks(service, desk))
    app.include_router(operations(service, metrics))
    app.include_router(manual)
    for foreseen in (*_UNREACHABLE, LedgerError, ClientDisconnect):
        app.add_exception_handler(foreseen, _foreseen)
    app.add_middleware(Guard, metrics=metrics)
    # Around the guard, which asks the scope that goes in for the route that was found.
    app.add_middleware(SlashesInSegments)
    # The server would do it for every request; only redirections ask how a request came.
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=_trusted_proxies())
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]
    return Express(app, metrics=metrics, tell=_tell)


def _lifespan(
    service: Service, desk: Desk, intake: Intake
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.reads:
            with closing(desk), closing(intake):
                yield

    return lifespan


def _trusted_proxies() -> str:
    """The addresses whose word on a request's origin is taken: uvicorn's setting and default."""
    return os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")


def _operation_id(route: APIRoute) -> str:
    return route.name


async def _told(request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return problems.respond_to(error)
    assert isinstance(error, HTTPException)
    match error.status_code:
        case 404:
            problem = Problem("not_found", "No route has this path. /docs lists them all.")
        case 405:
            taken = _methods(request)
            problem = Problem(
                "method_not_allowed",
                f"This path takes {' and '.join(taken)}.",
                {"Allow": ", ".join(taken)},
            )
        case _:
            problem = Problem("malformed_request", error.detail, error.headers)
    return problems.respond_to(problem)


def _methods(request: Request) -> list[str]:
    """The methods that the path takes, where each route knows its own only."""
    app: FastAPI = request.app
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in app.routes
        )
    ]


async def _unfit(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problems.respond_to(problems.unfit_by_shape(error.errors(), skip=1))


async def _foreseen(request: Request, error: Exception) -> Response:
    told = _tell(error, request.method)
    assert told is not None
    return told


def _tell(error: Exception, method: str) -> Response | None:
    """The response to an error that is foreseen, to a request by this method."""
    match error:
        case Problem():
            return problems.respond_to(error)
        case LedgerError():
            return problems.respond(problems.body_of_error(error))
        case ClientDisconnect():
            # Nobody is there to read it.
            return Response(status_code=400)
        case _ if isinstance(error, _UNREACHABLE):
            reading = method in ("GET", "HEAD")
            return problems.respond_to(problems.unavailable(reading=reading))
        case _:
            return None
