"""The outermost layer: measures each request, and answers where something went wrong unforeseen."""

from __future__ import annotations

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from creditledger.api import problems
from creditledger.api.metrics import Metrics


class Guard:
    """Sees to it that every request gets an answer and is counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer 500 where it failed before anything was said."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if status:
                # Half an answer is out: only cutting it off tells the caller.
                raise
            await problems.respond(problems.fault(error))(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.request(route, status, perf_counter() - began)
