"""What people enter about providers (prices, links, owners): one command, one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

import orjson
from fastapi import Header, Path, Response

from creditledger.api.desk import Desk, replayed
from creditledger.api.openapi import REPLAYED
from creditledger.api.problems import Problem
from creditledger.api.values import HeaderKey, Text
from creditledger.domain.commands import Command
from creditledger.domain.errors import LedgerError
from creditledger.domain.provider_commands import Provider
from creditledger.domain.receipt import ACCEPTED, Receipt, Wish, told_and_asked
from creditledger.infra.clients import Caller
from creditledger.infra.fingerprint import fingerprint
from creditledger.infra.wiring import Service
from creditledger.projections import checkpoints

#: The longest id of an object at a provider.
PROVIDER_ID_LENGTH_MAX: Final = 255

#: A name for people.
LABEL_LENGTH_MAX: Final = 255

#: How long a listing of what was entered waits to show what was entered just before.
_CATCH_UP_SECONDS: Final = 2.0

ProviderId = Annotated[
    str,
    Text(PROVIDER_ID_LENGTH_MAX, r"^[!-~]*$", "holds characters other than printable ASCII"),
]
Label = Annotated[str, Text(LABEL_LENGTH_MAX)]

#: What else their answers say, for the OpenAPI document.
ONCE: Final[dict[int | str, dict[str, Any]]] = {200: {"headers": REPLAYED}}

#: What these commands may be told besides.
ENTERED: Final = ("idempotency_key_reused", "command_in_progress", "overloaded")

ProviderInPath = Annotated[Provider, Path(description="Where it is known")]


#: These commands say what is, so they may be repeated without a key; one that is sent counts.
OptionalKey = Annotated[
    HeaderKey | None,
    Header(alias="Idempotency-Key", description="Not needed here: the same again changes nothing"),
]


async def enter(desk: Desk, caller: Caller, command: Command, key: str | None) -> Receipt:
    """What a command was told that was accepted.

    Raises Problem where it was refused, LedgerError where it does not fit.
    """
    wish = Wish(
        command=command,
        actor=f"client:{caller.client_id}",
        client_id=caller.client_id,
        key=key,
        fingerprint=fingerprint(command),
    )
    outcome = await desk.decide(wish)
    if isinstance(outcome, LedgerError):
        raise outcome
    assert isinstance(outcome, Receipt)
    if outcome.outcome != ACCEPTED:
        values, _ = told_and_asked(outcome.answer)
        raise Problem(outcome.outcome, values.pop("detail"), replayed(outcome), **values)
    return outcome


def entered(receipt: Receipt) -> Response:
    """The answer to a command, with its position."""
    body = {**receipt.answer, "position": receipt.position}
    return Response(orjson.dumps(body), 200, replayed(receipt), "application/json")


async def caught_up(service: Service, name: str) -> None:
    """Let a read model reach the end of the log first, if it does so soon."""
    head = await asyncio.to_thread(service.log.head)
    await checkpoints.reached(
        service.reads.connection, name, head, timeout_seconds=_CATCH_UP_SECONDS
    )


def json_response(body: Mapping[str, Any], status: int = 200) -> Response:
    """A body of plain values."""
    return Response(orjson.dumps(body), status, media_type="application/json")
