"""What routes share: the service that they serve, and answers as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request, Response

from creditledger.api.balance_desk import BalanceDesk
from creditledger.infra.wiring import Service


async def _running(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _balance_desk(request: Request) -> BalanceDesk:
    desk: BalanceDesk = request.app.state.balances
    return desk


#: A route's parameter: the service, as `create_app` was given it.
Running = Annotated[Service, Depends(_running)]

#: A route's parameter: where balances are read.
Balances = Annotated[BalanceDesk, Depends(_balance_desk)]


def json_answer(body: Mapping[str, Any], status: int = 200) -> Response:
    """An answer as it is sent."""
    return Response(orjson.dumps(body), status, media_type="application/json")
