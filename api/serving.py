"""What routes share: the service that they serve, and answers as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request, Response

from creditledger.infra.wiring import Service


async def _running(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


#: A route's parameter: the service, as `create_app` was given it.
Running = Annotated[Service, Depends(_running)]


def json_answer(body: Mapping[str, Any], status: int = 200) -> Response:
    """An answer as it is sent."""
    return Response(orjson.dumps(body), status, media_type="application/json")
