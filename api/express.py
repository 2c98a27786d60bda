"""The short way through the application, for what is asked for most.

FastAPI's layers around a route (error pages, telemetry, exit stacks, the search among all routes)
cost several times what a command does, and these routes need none of them: they read their
requests themselves. What a caller sees is the same on both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Final, Protocol, runtime_checkable

from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from creditledger.api import problems
from creditledger.api.metrics import Metrics

#: What a path that may go the short way splits into: nothing, `v1`, a collection, an id, a part.
_SEGMENTS: Final = 5


@runtime_checkable
class Short(Protocol):
    """A route that can answer by itself."""

    path: str
    methods: set[str]

    async def answer(
        self, state: State, scope: Scope, receive: Receive, params: Mapping[str, Any]
    ) -> Response:
        """The response to a request for this route, where `params` are what the path names.

        `state` is the application's.
        """


class Express:
    """Answers by routes that can do so themselves; other requests go to `app`.

    They are found where their paths are fixed or `/v1/{collection}/{id}/{part}`. `tell` makes a
    response of an error that is foreseen and the request's method, and nothing of any other.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        metrics: Metrics,
        tell: Callable[[Exception, str], Response | None],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tell = tell
        self._routes: dict[tuple[str, str, str], tuple[Short, str]] = {}
        self._fixed: dict[tuple[str, str], Short] = {}
        for route in app.routes:
            if not isinstance(route, Short):
                continue
            segments = route.path.split("/")
            for method in route.methods:
                if "{" not in route.path:
                    self._fixed[method, route.path] = route
                elif len(segments) == _SEGMENTS:
                    place = method, segments[2], segments[4]
                    self._routes[place] = route, segments[3].strip("{}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        found = self._find(scope)
        if found is None:
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        route, params = found
        status = 0
        try:
            try:
                response = await route.answer(self._app.state, scope, receive, params)
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller is answered
                told = self._tell(error, scope["method"])
                response = told or problems.respond(problems.fault(error))
            status = response.status_code
            await response(scope, receive, send)
        finally:
            self._metrics.request(route.path, status, perf_counter() - began)

    def _find(self, scope: Scope) -> tuple[Short, Mapping[str, str]] | None:
        """The route of a request and what its path names, where it can go the short way."""
        if scope["type"] != "http":
            return None
        segments = scope["path"].split("/")
        # A slash that was sent within a segment is not one that splits (`api/paths.py`).
        if b"%2" in scope["raw_path"]:
            return None
        if len(segments) != _SEGMENTS:
            fixed = self._fixed.get((scope["method"], scope["path"]))
            return None if fixed is None else (fixed, {})
        if segments[1] != "v1":
            return None
        found = self._routes.get((scope["method"], segments[2], segments[4]))
        if found is None or not segments[3]:
            return None
        route, name = found
        return route, {name: segments[3]}
