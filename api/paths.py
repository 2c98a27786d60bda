"""Paths as they were sent: a customer's id may hold a slash, sent as `%2F`."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from creditledger.api.values import SLASH


class SlashesInSegments:
    """Marks a slash that was sent within a segment, so that the router does not split there.

    The server has decoded the path already, where `a%2Fb` and `a/b` are the same. Values take
    the mark out again (`api/values.py`); it is half of a character, which no path can hold.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        raw: bytes = scope.get("raw_path", b"")
        if b"%2" in raw and scope["type"] == "http":
            segments = raw.decode("latin-1").split("/")
            path = "/".join(unquote(segment).replace("/", SLASH) for segment in segments)
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)
