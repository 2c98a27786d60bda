"""The table of problems: the domain's codes have their statuses, and the contract's are kept."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from creditledger.api.bodies import BatchBody, GrantBody
from creditledger.api.problems import PROBLEMS, Problem, body_of_error, unfit_by_shape
from creditledger.domain import errors

#: Clients are written against these.
CONTRACT = {
    400: ("idempotency_key_missing", "malformed_request"),
    401: ("unauthenticated",),
    402: ("insufficient_credits",),
    403: ("forbidden",),
    404: ("hold_not_found", "deduction_not_found", "grant_not_found", "payment_not_found"),
    409: (
        "hold_closed",
        "refund_exceeds_deduction",
        "revocation_exceeds_grant",
        "reinstatement_exceeds_revocation",
        "transfer_not_refundable",
        "balance_limit_exceeded",
        "batch_refused",
        "command_in_progress",
    ),
    413: ("body_too_large",),
    422: ("invalid_request", "idempotency_key_reused"),
    503: ("overloaded", "unavailable"),
}


def _all_kinds(kind: type[errors.LedgerError]) -> list[type[errors.LedgerError]]:
    return [kind, *(member for child in kind.__subclasses__() for member in _all_kinds(child))]


@pytest.mark.parametrize(
    "code", [kind.code for kind in _all_kinds(errors.LedgerError) if hasattr(kind, "code")]
)
def test_every_code_of_the_domain_has_a_status(code: str) -> None:
    assert code in PROBLEMS


@pytest.mark.parametrize(
    ("status", "code"), [(status, code) for status, codes in CONTRACT.items() for code in codes]
)
def test_statuses_are_those_of_the_contract(status: int, code: str) -> None:
    assert PROBLEMS[code].status == status


def test_a_refusal_is_told_with_its_sentence_and_its_values() -> None:
    body = body_of_error(errors.HoldClosed(hold_id="hld_1", how="captured"))

    assert body == {
        "type": "urn:creditledger:problem:hold_closed",
        "title": "The hold is closed",
        "status": 409,
        "detail": "The hold hld_1 is closed: it was captured.",
        "code": "hold_closed",
        "hold_id": "hld_1",
        "how": "captured",
    }


def test_a_fault_tells_nothing_but_where_to_look(caplog: pytest.LogCaptureFixture) -> None:
    failed = errors.Failed()
    failed.__cause__ = ZeroDivisionError("a secret")

    body = body_of_error(failed)

    assert (body["status"], body["code"]) == (500, "internal_error")
    assert body["correlation_id"] in caplog.text
    assert "a secret" in caplog.text
    assert "a secret" not in str(body)


def _misfit(model: type[BaseModel], value: object) -> Problem:
    with pytest.raises(ValidationError) as found:
        model.model_validate(value)
    return unfit_by_shape(found.value.errors())


@pytest.mark.parametrize(
    ("model", "value", "field"),
    [
        (GrantBody, {"amount": 0}, "amount"),
        (GrantBody, 5, "body"),
        (GrantBody, {"amount": 1, "cost_basis": {"amount": 1}}, "cost_basis.currency"),
        (BatchBody, {"commands": [{"type": "release", "hold_id": 1}]}, "commands[0].hold_id"),
        (BatchBody, {"commands": [1]}, "commands[0]"),
    ],
)
def test_a_misfit_is_told_by_its_place(model: type[BaseModel], value: object, field: str) -> None:
    assert _misfit(model, value).values["field"] == field


def test_a_flood_of_misfits_is_told_in_part() -> None:
    class Empty(BaseModel):
        model_config = ConfigDict(extra="forbid")

    problem = _misfit(Empty, {str(n): n for n in range(1_000)})

    assert len(problem.values["errors"]) == 20
