"""Batches: up to a thousand commands in one request, decided in order, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.datastructures import State
from starlette.types import Receive, Scope

from creditledger.api.answers import BatchAnswer
from creditledger.api.auth import needs
from creditledger.api.bodies import BatchBody, Item
from creditledger.api.command_requests import CommandRequest, command_parameters
from creditledger.api.desk import Desk
from creditledger.api.openapi import EVERY_COMMAND, REPLAYED, problems
from creditledger.api.problems import invalid, unfit_by_shape
from creditledger.api.reading import BATCH_BODY_BYTES_MAX, parse_json
from creditledger.domain.receipt import Batch, Wish
from creditledger.infra.fingerprint import batch_fingerprint

#: Bytes of a body that is read without a thread of its own, and answered so: some hundred
#: commands, which take less than a millisecond.
_AT_ONCE_BYTES_MAX: Final = 16 * 1024


class _BatchRoute(APIRoute):
    """Runs as `CommandRoute` does, on many commands at once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            return await self.answer(request.app.state, request.scope, request.receive, {})

        return handle

    async def answer(
        self, state: State, scope: Scope, receive: Receive, _: Mapping[str, Any]
    ) -> Response:
        """What a batch is told. Raises Problem."""
        desk: Desk = state.desk
        said = await CommandRequest.read(scope, desk)
        desk.require_room("batch")
        raw = await said.body(receive, limit=BATCH_BODY_BYTES_MAX)
        if len(raw) <= _AT_ONCE_BYTES_MAX:
            batch = _batch(said, raw)
            return desk.respond(batch, await desk.decide(batch))
        # Megabytes take a while to read: others are served meanwhile.
        batch = await desk.aside(lambda: _batch(said, raw))
        outcome = await desk.decide(batch)
        return await desk.aside(lambda: desk.respond(batch, outcome))


batches: Final = APIRouter(
    prefix="/v1",
    tags=["Commands"],
    route_class=_BatchRoute,
    dependencies=[Depends(needs("commands")), Depends(command_parameters)],
)


@batches.post(
    "/batches",
    summary="Decide a batch of commands",
    response_model=BatchAnswer,
    response_description="Decided: each command has a result with a status of its own",
    responses={200: {"headers": REPLAYED}, **problems(*EVERY_COMMAND, "batch_refused")},
)
def decide_batch(body: BatchBody) -> None:
    """Decide up to 1,000 commands in order, in one transaction.

    Each is told its own answer or problem. The header's key is the batch's own; each command
    carries another one, in the same name space. In the mode `all_or_nothing` one refusal refuses
    all: 409 `batch_refused` names the first.
    """


def _batch(said: CommandRequest, raw: bytes) -> Batch:
    try:
        body = BatchBody.model_validate(parse_json(raw))
    except ValidationError as error:
        raise unfit_by_shape(error.errors(include_url=False, include_input=False)) from None
    wishes = list(_wishes(said, body.commands))
    all_or_nothing = body.mode == "all_or_nothing"
    items = [(wish.key, wish.fingerprint) for wish in wishes]
    return Batch(
        wishes=wishes,
        all_or_nothing=all_or_nothing,
        client_id=said.caller.client_id,
        key=said.key,
        fingerprint=batch_fingerprint(items, all_or_nothing=all_or_nothing),
        dry_run=said.dry_run,
    )


def _wishes(said: CommandRequest, items: Iterable[Item]) -> Iterable[Wish]:
    for index, item in enumerate(items):
        if item.idempotency_key is None and not said.dry_run:
            raise invalid(f"commands[{index}].idempotency_key", "is missing")
        yield said.wish(item.command(), None if said.dry_run else item.idempotency_key)
