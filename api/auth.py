"""Who is calling, by the API key in `Authorization: Bearer …`, and whether it may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, Final

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from creditledger.api.problems import Problem
from creditledger.infra.clients import Authenticator, Caller, Scope

#: What the OpenAPI document says of keys.
BEARER: Final = HTTPBearer(
    scheme_name="api_key",
    auto_error=False,
    description="An API key with the scope that is named: `commands` changes accounts, `read` "
    "reads them, `events` reads the log, `admin` sets prices and links and replays deliveries.",
)


@cache
def needs(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, whose key has this scope. Raises Problem (401, 403).

    One for each scope, so that a request is asked once where a route and its endpoint need it.
    """

    sent: Any = Security(BEARER, scopes=[scope])

    async def permitted(
        request: Request, credentials: HTTPAuthorizationCredentials | None = sent
    ) -> Caller:
        key = None if credentials is None else credentials.credentials
        authenticator: Authenticator = request.app.state.authenticator
        return permit(await identify(authenticator, key), scope)

    return permitted


def key_of(authorization: str | None) -> str | None:
    """The key in an Authorization header, where it has one."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


async def identify(authenticator: Authenticator, key: str | None) -> Caller:
    """Who holds the key. Raises Problem where nobody does."""
    caller = await authenticator.caller(key) if key else None
    if caller is None:
        detail = "Send a valid API key as `Authorization: Bearer <key>`."
        raise Problem("unauthenticated", detail, {"WWW-Authenticate": "Bearer"})
    return caller


async def caller_of(
    authenticator: Authenticator, headers: Mapping[bytes, bytes], scope: Scope
) -> Caller:
    """Who sent these headers, with a key that has the scope. Raises Problem (401, 403)."""
    authorization = headers.get(b"authorization")
    key = None if authorization is None else key_of(authorization.decode("latin-1"))
    return permit(await identify(authenticator, key), scope)


def permit(caller: Caller, scope: Scope) -> Caller:
    """The same caller, whose key must have the scope. Raises Problem where it has not."""
    if scope not in caller.scopes:
        detail = f"This needs a key with the scope {scope!r}; ask for one, or use another key."
        raise Problem("forbidden", detail, needed_scope=scope)
    return caller
