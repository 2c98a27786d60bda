"""Problems: what a caller is told instead of an answer, as RFC 9457 says it.

`PROBLEMS` is the one table of codes with their statuses and titles. Every refusal of the domain,
every request that does not fit and every fault of the service is told by one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from creditledger.domain.errors import Failed, LedgerError

_LOG = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

#: How soon to come back where nobody knows better: the service looks for its database again
#: within this time.
RETRY_AFTER_SECONDS: Final = 1


class Kind(NamedTuple):
    """What is the same for all problems with one code."""

    status: int
    title: str


PROBLEMS: Final[Mapping[str, Kind]] = {
    "idempotency_key_missing": Kind(400, "An Idempotency-Key header is needed"),
    "malformed_request": Kind(400, "The request cannot be read"),
    "unauthenticated": Kind(401, "A valid API key or signature is needed"),
    "insufficient_credits": Kind(402, "Not enough credits"),
    "forbidden": Kind(403, "The API key may not do this"),
    "not_found": Kind(404, "There is nothing here"),
    "grant_not_found": Kind(404, "No such grant"),
    "hold_not_found": Kind(404, "No such hold"),
    "deduction_not_found": Kind(404, "No such deduction"),
    "entry_not_found": Kind(404, "No such entry"),
    "receipt_not_found": Kind(404, "No such receipt"),
    "payment_not_found": Kind(404, "No such payment"),
    "subscription_not_found": Kind(404, "No such subscription"),
    "delivery_not_found": Kind(404, "No such delivery"),
    "method_not_allowed": Kind(405, "The method does not fit the path"),
    "hold_closed": Kind(409, "The hold is closed"),
    "refund_exceeds_deduction": Kind(409, "More than is left to refund"),
    "revocation_exceeds_grant": Kind(409, "More than is left to revoke"),
    "reinstatement_exceeds_revocation": Kind(409, "More than is revoked"),
    "transfer_not_refundable": Kind(409, "A transfer cannot be refunded"),
    "balance_limit_exceeded": Kind(409, "A sum would be too large"),
    "payment_already_granted": Kind(409, "The payment is granted already"),
    "batch_refused": Kind(409, "One refusal refused the whole batch"),
    "command_in_progress": Kind(409, "The command with this key is still running"),
    "parked": Kind(409, "It waits for something else"),
    "body_too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "The body is not sent as JSON"),
    "invalid_request": Kind(422, "A value does not fit"),
    "idempotency_key_reused": Kind(422, "The key belongs to another command"),
    "internal_error": Kind(500, "A fault of the service"),
    "overloaded": Kind(503, "Too much to do: nothing was tried"),
    "unavailable": Kind(503, "Not available for the moment"),
    "read_model_behind": Kind(503, "The read model has not come so far yet"),
}


class Problem(HTTPException):
    """A problem that ends the request: `detail` is for people, `values` for programs."""

    def __init__(
        self, code: str, detail: str, headers: Mapping[str, str] | None = None, /, **values: Any
    ) -> None:
        super().__init__(PROBLEMS[code].status, detail, headers)
        self.code = code
        self.values = values


def body_of(code: str, detail: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The problem as an object ready for JSON."""
    status, title = PROBLEMS[code]
    return {
        "type": f"urn:creditledger:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **values,
    }


def body_of_error(error: LedgerError) -> dict[str, Any]:
    """A domain error as a problem. A fault is logged, and told by the name of its log line."""
    if isinstance(error, Failed):
        return fault(error.__cause__ or error)
    return body_of(error.code, error.message, error.values)


def fault(error: BaseException) -> dict[str, Any]:
    """The problem that stands for an unexpected error, which is logged with its trace."""
    correlation_id = uuid4().hex
    _LOG.error("fault %s", correlation_id, exc_info=error)
    detail = f"The service failed on this request. Its log says more about {correlation_id}."
    return body_of("internal_error", detail, {"correlation_id": correlation_id})


def respond(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """The response with this problem."""
    return Response(orjson.dumps(body), body["status"], headers, MEDIA_TYPE)


def respond_to(problem: Problem) -> Response:
    """The response with this problem, and its headers."""
    return respond(body_of(problem.code, problem.detail, problem.values), problem.headers)


def overloaded(retry_after_seconds: int) -> Problem:
    """Nothing was tried."""
    return Problem(
        "overloaded",
        f"Nothing was tried, because too much waits. Try again in {retry_after_seconds} s.",
        {"Retry-After": str(retry_after_seconds)},
    )


def unavailable(*, reading: bool = False) -> Problem:
    """Nothing can be told, or, where something was to be changed, the outcome is unknown."""
    return Problem(
        "unavailable",
        "The database does not answer. Ask again soon."
        if reading
        else "The database does not answer, so the outcome is unknown. "
        "Send a command again with the same key: it is decided once.",
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def invalid(field: str, reason: str) -> Problem:
    """A value that does not fit."""
    return unfit([{"field": field, "reason": reason}])


def unfit(errors: Sequence[Mapping[str, str]]) -> Problem:
    """Values that do not fit, each with its `field` and `reason`; the first also by itself."""
    first = errors[0]
    detail = f"{first['field']}: {first['reason']}"
    if len(errors) > 1:
        detail += f" (and {len(errors) - 1} more)"
    return Problem("invalid_request", detail, **first, errors=list(errors))


#: Errors of one request that are told; a large batch may have thousands.
_ERRORS_TOLD_MAX: Final = 20


#: Our words for what pydantic says in its own.
_REASONS: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "dict_type": "should be an object",
    "list_type": "should be a list",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "bool_type": "should be true or false",
    "string_type": "should be a text",
    "too_short": "has {actual_length} items, and needs at least {min_length}",
    "too_long": "has {actual_length} items, and can have {max_length} at most",
    "union_tag_not_found": "is missing",
    "union_tag_invalid": "should be one of {expected_tags}",
}


def unfit_by_shape(errors: Iterable[Mapping[str, Any]], *, skip: int = 0) -> Problem:
    """What pydantic says of a request; `skip` parts of each place say where it was sent."""
    told: list[dict[str, str]] = []
    for error in errors:
        if len(told) == _ERRORS_TOLD_MAX:
            break
        told.append({"field": _path(_place(error)[skip:]), "reason": _reason(error)})
    return unfit(told)


def _reason(error: Mapping[str, Any]) -> str:
    ours = _REASONS.get(error["type"])
    if ours is None:
        told: str = error["msg"]
        return told.replace("Input should", "should")
    return ours.format_map(error.get("ctx", {})).replace("'", "")


def _place(error: Mapping[str, Any]) -> tuple[str | int, ...]:
    place: tuple[str | int, ...] = error["loc"]
    if error["type"].startswith("union_tag"):
        # What tells the kinds of items apart is quoted, and not in the place.
        place += (error["ctx"]["discriminator"].strip("'"),)
    return place


def _path(loc: Sequence[str | int]) -> str:
    """`commands[3].amount`; the whole is `body`."""
    path = ""
    for place, part in enumerate(loc):
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (place >= 2 and isinstance(loc[place - 1], int) and place < len(loc) - 1):
            # Between a number and a field pydantic names the type of the item.
            path += f".{part}" if path else part
    return path or "body"
