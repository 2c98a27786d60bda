"""How commands are read from requests: who sends them, under which key, and what they say.

FastAPI makes the OpenAPI document from the routes' signatures. It does not run them: `CommandRoute`
does, in a fraction of the time and as strictly as commands are to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from inspect import signature
from typing import Annotated, Any, Final, get_type_hints

from fastapi import Header, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import State
from starlette.types import Receive, Scope

from creditledger.api.auth import caller_of
from creditledger.api.bodies import Body
from creditledger.api.desk import Desk
from creditledger.api.problems import Problem, invalid, unfit_by_shape
from creditledger.api.reading import (
    BODY_BYTES_MAX,
    headers_of,
    parse_json,
    query_of,
    read_body,
    refuse_unknown,
    require_json,
)
from creditledger.api.values import HeaderKey, Key, Truth
from creditledger.domain.commands import Command
from creditledger.domain.receipt import Wish
from creditledger.infra.clients import Caller
from creditledger.infra.fingerprint import fingerprint

_KEY: Final[Callable[[Any], str]] = TypeAdapter(HeaderKey).validator.validate_python

#: What commands take from the query.
_PARAMETERS: Final = ("dry_run",)


def command_parameters(
    idempotency_key: Annotated[Key, Header(alias="Idempotency-Key")],
    correlation_id: Annotated[
        Key | None,
        Header(
            alias="Correlation-Id",
            description="Ties several commands together; kept with their events",
        ),
    ] = None,
    dry_run: Annotated[
        Truth, Query(description="Tell what would happen, write nothing; needs no key, uses none")
    ] = False,
) -> None:
    """What the OpenAPI document says of all commands; `CommandRequest` reads it."""


class CommandRequest:
    """What a request says besides its body: who, under which key, and whether in earnest."""

    __slots__ = ("caller", "correlation_id", "dry_run", "headers", "key")

    def __init__(
        self, caller: Caller, headers: dict[bytes, bytes], query: Mapping[str, str]
    ) -> None:
        self.caller = caller
        self.headers = headers
        self.dry_run = _dry_run(query)
        self.key = _key(headers, needed=not self.dry_run)
        self.correlation_id = _named(headers, b"correlation-id", "Correlation-Id")

    @classmethod
    async def read(cls, scope: Scope, desk: Desk) -> CommandRequest:
        """What a request says whose caller may send commands. Raises Problem."""
        headers = headers_of(scope)
        caller = await caller_of(desk.authenticator, headers, "commands")
        return cls(caller, headers, query_of(scope))

    async def body(self, receive: Receive, *, limit: int) -> bytes:
        """The body, as it was sent. Raises Problem where it is too large or not sent as JSON."""
        require_json(self.headers)
        return await read_body(receive, self.headers, limit=limit)

    def wish(self, command: Command, key: str | None) -> Wish:
        """The wish for a command of this caller."""
        client_id = self.caller.client_id
        return Wish(
            command=command,
            actor=f"client:{client_id}",
            client_id=client_id,
            key=key,
            fingerprint=b"" if key is None else fingerprint(command),
            correlation_id=self.correlation_id,
            dry_run=self.dry_run,
        )


def _dry_run(query: Mapping[str, str]) -> bool:
    if not query:
        return False
    refuse_unknown(query, _PARAMETERS)
    if query["dry_run"] not in ("true", "false"):
        raise invalid("dry_run", "should be true or false")
    return query["dry_run"] == "true"


def _key(headers: Mapping[bytes, bytes], *, needed: bool) -> str | None:
    """The key, which must fit wherever it is sent."""
    key = _named(headers, b"idempotency-key", "Idempotency-Key")
    if key is None and needed:
        raise Problem(
            "idempotency_key_missing",
            "Send an Idempotency-Key header: 1 to 255 characters that name this one command.",
        )
    return key if needed else None


def _named(headers: Mapping[bytes, bytes], name: bytes, field: str) -> str | None:
    said = headers.get(name)
    if said is None:
        return None
    try:
        return _KEY(said.decode("latin-1"))
    except ValidationError as error:
        raise invalid(field, error.errors()[0]["msg"]) from None


class CommandRoute(APIRoute):
    """A route whose endpoint makes a command from the path and the body, and does nothing else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint
        hints = get_type_hints(endpoint, include_extras=True)
        body_model: type[Body] = hints["body"]
        self._endpoint: Callable[..., Command] = endpoint
        self._name = body_model.COMMAND.NAME
        self._validate = body_model.__pydantic_validator__.validate_python
        self._subjects = {
            name: TypeAdapter(hints[name]).validator.validate_python
            for name in signature(endpoint).parameters
            if name != "body"
        }
        all_optional = not any(field.is_required() for field in body_model.model_fields.values())
        self._empty = b"{}" if all_optional else b""

        async def handle(request: Request) -> Response:
            state = request.app.state
            return await self.answer(state, request.scope, request.receive, request.path_params)

        return handle

    async def answer(
        self, state: State, scope: Scope, receive: Receive, params: Mapping[str, Any]
    ) -> Response:
        """What a command is told; `params` are what the path names. Raises Problem."""
        desk: Desk = state.desk
        said = await CommandRequest.read(scope, desk)
        desk.require_room(self._name)
        subject = _subject(self._subjects, params)
        raw = await said.body(receive, limit=BODY_BYTES_MAX) or self._empty
        try:
            body = self._validate(parse_json(raw))
        except ValidationError as error:
            raise unfit_by_shape(error.errors(include_url=False)) from None
        wish = said.wish(self._endpoint(**subject, body=body), said.key)
        return desk.respond(wish, await desk.decide(wish))


def _subject(checks: Mapping[str, Callable[[Any], Any]], sent: Mapping[str, Any]) -> dict[str, Any]:
    subject = {}
    for name, check in checks.items():
        try:
            subject[name] = check(sent[name])
        except ValidationError as error:
            raise invalid(name, error.errors()[0]["msg"]) from None
    return subject
