"""The OpenAPI document: what clients are generated from, with every problem of every route."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from creditledger.api.answers import ProblemAnswer
from creditledger.api.problems import MEDIA_TYPE, PROBLEMS, body_of

_REF: Final = "#/components/schemas/{model}"

#: What every route with an API key may be told.
_ALL: Final = (
    "malformed_request",
    "unauthenticated",
    "forbidden",
    "invalid_request",
    "internal_error",
    "unavailable",
)

#: What every route with a body may be told besides.
_WITH_BODY: Final = ("body_too_large", "unsupported_media_type")

#: What every command may be told besides.
EVERY_COMMAND: Final = (
    "idempotency_key_missing",
    "idempotency_key_reused",
    "command_in_progress",
    "overloaded",
)

#: The header of an answer that was given before.
REPLAYED: Final = {
    "Idempotency-Replayed": {
        "description": "`true` where this is the first answer again",
        "schema": {"type": "string", "enum": ["true"]},
    }
}

_DESCRIPTION: Final = """
A ledger for prepaid credits: granted by payments, held, spent, refunded, expired.

* **Amounts** are whole numbers, 1 to 2^53 − 1. **Times** are RFC 3339 with an offset; answers are
  in UTC with microseconds. **Ids** are opaque texts whose prefix says what they name.
* **Commands** carry an `Idempotency-Key`. Sent again with the same key, a command is told its first
  answer again, byte for byte, with `Idempotency-Replayed: true`. After a 503 or a lost connection,
  send it again with the same key.
* **`?dry_run=true`** tells what would happen, and writes nothing.
* **Problems** are `application/problem+json` (RFC 9457). Decide by `code`, which is stable.
* Bodies are JSON objects in UTF-8 without unknown or repeated fields, up to 1 MiB, batches 8 MiB,
  sent as `application/json` or without a `Content-Type`.
"""


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What a route may be told, for its `responses`: by status, with an example of each code."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in codes:
        by_status[PROBLEMS[code].status].append(code)
    return {status: _response(by_status[status]) for status in sorted(by_status)}


def _response(codes: Iterable[str]) -> dict[str, Any]:
    codes = list(dict.fromkeys(codes))
    examples = {code: {"value": body_of(code, PROBLEMS[code].title, {})} for code in codes}
    response: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": _REF.format(model=ProblemAnswer.__name__)},
                "examples": examples,
            }
        },
    }
    if PROBLEMS[codes[0]].status == 503:
        schema = {"type": "integer", "description": "Seconds"}
        response["headers"] = {"Retry-After": {"schema": schema}}
    return response


def document(app: FastAPI) -> dict[str, Any]:
    """The document of all routes, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title="Credit Ledger",
            version=version("creditledger"),
            summary="Credits that are granted, held, spent, refunded and expire",
            description=_DESCRIPTION.strip(),
            routes=app.routes,
        )
        schemas = made["components"]["schemas"]
        _, defs = models_json_schema([(ProblemAnswer, "serialization")], ref_template=_REF)
        schemas |= defs["$defs"]
        for path, operations in made["paths"].items():
            for operation in operations.values():
                _complete(path, operation)
        # FastAPI's own form of a 422, which is never sent.
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = made
    return app.openapi_schema


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Add the problems that any route like this may be told."""
    responses = operation["responses"]
    if MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        responses.pop("422", None)
    codes = list(_ALL if "security" in operation else ("internal_error",))
    if "requestBody" in operation:
        codes += _WITH_BODY
    for status, response in problems(*codes).items():
        known = responses.get(str(status))
        if known is None:
            responses[str(status)] = response
        elif MEDIA_TYPE in known.get("content", {}):
            told = known["content"][MEDIA_TYPE]["examples"]
            responses[str(status)] = _response(
                [*told, *response["content"][MEDIA_TYPE]["examples"]]
            )
    operation["responses"] = dict(sorted(responses.items()))
