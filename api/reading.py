"""Reading requests: bodies up to a limit, JSON that means one thing, headers that come once."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from email.message import Message
from typing import Any, Final, get_type_hints
from urllib.parse import parse_qsl

from fastapi import Depends, Request, Response, params
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from creditledger.api.problems import Problem, invalid, unfit

#: Far more than any command needs, and little enough to be held for each connection.
BODY_BYTES_MAX: Final = 1024 * 1024

#: A thousand commands with their metadata.
BATCH_BODY_BYTES_MAX: Final = 8 * 1024 * 1024

#: Parameters of a query: more are a mistake, and cost time to look at.
_PARAMETERS_MAX: Final = 50

#: So much of a name is told where it comes twice.
_NAME_SHOWN_MAX: Final = 64

_BYTE_ORDER_MARK: Final = "\ufeff"

#: Headers of which a second one could contradict the first.
_ONCE: Final = frozenset(
    {b"authorization", b"content-type", b"content-encoding", b"idempotency-key", b"correlation-id"}
)


class StrictRoute(APIRoute):
    """A route of FastAPI whose JSON and query are read as strictly as those of commands."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        dependencies: Sequence[params.Depends] | None = None,
        **options: Any,
    ) -> None:
        known = frozenset(_parameters(endpoint))

        async def check(request: _StrictRequest) -> None:
            refuse_unknown(query_of(request.scope), known)
            if request.misfit is not None:
                raise request.misfit

        # After the others, so that who may not ask at all is told that first.
        asked = [*(dependencies or ()), Depends(check)]
        super().__init__(path, endpoint, dependencies=asked, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            headers = headers_of(request.scope)
            return await handle(_StrictRequest(request.scope, request.receive, headers))

        return strict


def _parameters(endpoint: Callable[..., Any]) -> Iterator[str]:
    """The names that an endpoint takes from the query, one by one or as a model's fields."""
    for name, hint in get_type_hints(endpoint, include_extras=True).items():
        if any(isinstance(said, params.Query) for said in getattr(hint, "__metadata__", ())):
            is_model = isinstance(hint.__origin__, type) and issubclass(hint.__origin__, BaseModel)
            yield from hint.__origin__.model_fields if is_model else (name,)


class _StrictRequest(Request):
    """A request whose body FastAPI reads before it knows who asks, which is to be told first.

    So what is wrong with the body is kept as `misfit`, for the route's own check.
    """

    misfit: Problem | None = None

    def __init__(self, scope: Scope, receive: Receive, headers: dict[bytes, bytes]) -> None:
        super().__init__(scope, receive)
        self._by_name = headers

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = b""
            try:
                require_json(self._by_name)
                raw = await read_body(self.receive, self._by_name, limit=BODY_BYTES_MAX)
                self._json = parse_json(raw)
                self._body = raw
            except Problem as problem:
                self.misfit = problem
        return self._body


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers by their names in small letters. Raises Problem where one contradicts another."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in found and name in _ONCE:
            raise invalid(name.decode(), "is sent more than once")
        found[name] = value
    return found


def query_of(scope: Scope) -> dict[str, str]:
    """The query by its names. Raises Problem where a name comes twice or is no UTF-8."""
    raw: bytes = scope["query_string"]
    if not raw:
        return {}
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except ValueError:
        detail = f"The query is not UTF-8, or has more than {_PARAMETERS_MAX} parameters."
        raise Problem("malformed_request", detail) from None
    query = dict(pairs)
    if len(query) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise invalid(name, "is given more than once")
    return query


def refuse_unknown(query: Mapping[str, str], known: Collection[str]) -> None:
    """Raise Problem where the query says what nobody would hear, such as a dry run of a setting."""
    unknown = [name for name in query if name not in known]
    if unknown:
        raise unfit([{"field": name, "reason": "is not known here"} for name in unknown])


def require_json(headers: dict[bytes, bytes]) -> None:
    """Raise Problem where the headers say that the body is not JSON in UTF-8, as it is."""
    said = headers.get(b"content-type")
    if said is not None and said != b"application/json" and not _is_json(said.decode("latin-1")):
        raise Problem(
            "unsupported_media_type",
            "Send the body as application/json, in UTF-8.",
            content_type=said.decode("latin-1"),
        )
    encoded = headers.get(b"content-encoding")
    if encoded is not None and encoded.lower() != b"identity":
        encoding = encoded.decode("latin-1")
        detail = "Send the body as it is, without a Content-Encoding."
        raise Problem("unsupported_media_type", detail, content_encoding=encoding)


def _is_json(content_type: str) -> bool:
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    charset = message.get_content_charset("utf-8")
    is_json = message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )
    return is_json and charset in ("utf-8", "utf8", "us-ascii")


async def read_body(receive: Receive, headers: dict[bytes, bytes], *, limit: int) -> bytes:
    """The whole body. Raises Problem as soon as it is known to be larger than the limit."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limit: int) -> Problem:
    detail = f"The body has more than {limit} bytes. Send less at a time."
    return Problem("body_too_large", detail, limit=limit)


def parse_json(body: bytes) -> Any:
    """The value that a JSON text stands for.

    Raises Problem where it is not JSON in UTF-8, an object has a name twice, it is nested too
    deeply, or it holds half of a character.
    """
    try:
        if not body:
            raise _Unreadable("The body is empty, and should be JSON.")
        text = body.decode()
        if text.startswith(_BYTE_ORDER_MARK):
            raise _Unreadable("The body begins with a byte order mark. Send JSON without one.")
        value = _DECODER.decode(text)
        if "\\u" in text:
            # Escapes can write what UTF-8 cannot: halves of characters.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8 at byte {error.start}."
    except UnicodeEncodeError:
        detail = "The body holds an escape that is half of a character (a lone surrogate)."
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON: {_misfit(error)}."
    except _Unreadable as error:
        detail = str(error)
    except ValueError:
        # All that is left, and Python's way to say it names Python's settings.
        limit = sys.get_int_max_str_digits()
        detail = f"The body holds a number of more than {limit} digits."
    except RecursionError:
        detail = "The body is nested too deeply."
    else:
        return value
    raise Problem("malformed_request", detail)


def _misfit(error: json.JSONDecodeError) -> str:
    """Where a text stops being JSON, and what stands there: no parser's words, which change."""
    rest = error.doc[error.pos :]
    place = f"line {error.lineno}, column {error.colno}"
    if error.msg.startswith("Unterminated string"):
        return f"the text that begins at {place} has no end"
    if not rest.strip():
        return "it ends too soon"
    return f"{json.dumps(rest[0])} does not fit at {place}"


class _Unreadable(ValueError):
    """A body that stands for no value; its text is for the caller."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        # As JSON writes it, whatever characters or halves of characters it has.
        shown = json.dumps(name[:_NAME_SHOWN_MAX])
        raise _Unreadable(f"The body has an object with the name {shown} more than once.")
    return made


def _refuse_constant(constant: str) -> Any:
    raise _Unreadable(f"The body is not JSON: {constant} is not a number.")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
