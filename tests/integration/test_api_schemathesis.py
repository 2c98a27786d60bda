"""The API against its own OpenAPI document: made-up requests, good and bad, never a 5xx."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from api_server import Api, new_key

#: Enough that each field is tried at and beyond its limits; little enough to be run all day.
EXAMPLES = 15

#: Why a request is refused that fits the document: what JSON Schema cannot say.
BEYOND_THE_SCHEMA = (
    "should be a whole number",  # 5.0 is an integer to JSON Schema
    "should lie between 1970",
    "lies in the future",
    "which is past",
    "which is not after the start",
    "which ends after the year 9999",
    "cannot stand beside",
    "and the log ends at",
    "was not given out by this listing",
    "is the sender",
    "is worth none",
    "idempotency_key: is missing",  # a batch's commands need none in a dry run
)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_that_the_document_promises(api: Api, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    failures: list[str] = []
    for found in document.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        try:
            _try_out(api, operation, mode)
        except Unsatisfiable:
            # What takes no values cannot be sent a wrong one.
            continue
        except BaseExceptionGroup as group:
            failures += [f"{operation.label}: {failure}" for failure in group.exceptions]
        except Exception as failure:  # noqa: BLE001 - the other operations are tried, too
            failures.append(f"{operation.label}: {failure}")

    assert not failures, "\n\n".join(failures)


def _try_out(api: Api, operation: Any, mode: GenerationMode) -> None:
    headers = {"Authorization": api.http.headers["authorization"]}
    # Instead of this check, which knows statuses only, we look at the reason.
    excluded: list[Any] = CHECKS.get_by_names(["positive_data_acceptance"])

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Case[Any]) -> None:
        # An empty list in a query is not sent at all, so nobody can refuse it.
        assume(not any(value in ([], {}) for value in case.query.values()))
        if mode is GenerationMode.POSITIVE:
            # A key that was used before would say nothing about the body.
            headers["Idempotency-Key"] = new_key()
        response = case.call(headers=headers)
        case.validate_response(response, excluded_checks=excluded)
        if mode is GenerationMode.POSITIVE and response.status_code in (400, 413, 415, 422):
            reason = response.json()["detail"]
            assert any(why in reason for why in BEYOND_THE_SCHEMA), reason

    call()
