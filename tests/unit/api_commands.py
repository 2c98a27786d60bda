"""One example of every command of the API, with what it needs to be accepted or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api_server import Api, new_customer

BALANCE_FIELDS = {"asset", "available", "held", "scheduled", "debt", "overage"}

#: Ids that are well-formed and name nothing.
NO_GRANT = "grt_000000000000000000000000001"
NO_HOLD = "hld_000000000000000000000000001"
NO_DEDUCTION = "ded_000000000000000000000000001"


@dataclass(frozen=True)
class Example:
    """A request; `changed` is the same with another body, `answers` the fields it must bring."""

    method: str
    path: str
    body: Mapping[str, Any]
    changed: Mapping[str, Any]
    status: int
    answers: frozenset[str]


Prepare = Callable[[Api], Example]


def _example(
    method: str,
    path: str,
    body: Mapping[str, Any],
    changed: Mapping[str, Any],
    status: int,
    *answers: str,
) -> Example:
    return Example(method, path, body, changed, status, frozenset(answers))


def grant(api: Api) -> Example:
    path = f"/v1/customers/{new_customer()}/grants"
    body = {
        "amount": 100,
        "asset": "tokens",
        "source": "top_up",
        "expires_after_days": 30,
        "priority": 5,
        "cost_basis": {"amount": 999, "currency": "EUR"},
        "reference": "invoice 17",
        "metadata": {"order": "a-1", "lines": 2, "gift": False},
        "happened_at": "2026-01-01T00:00:00+02:00",
    }
    return _example("POST", path, body, {**body, "amount": 101}, 201, "grant_id", "debt_repaid")


def deduct(api: Api) -> Example:
    customer = new_customer()
    api.granted(customer, 100)
    path = f"/v1/customers/{customer}/deductions"
    body = {"amount": 30, "feature": "chat", "metadata": {"request": "r-1"}}
    changed = {**body, "feature": "images"}
    return _example("POST", path, body, changed, 201, "deduction_id", "from", "overage")


def refund(api: Api) -> Example:
    customer = new_customer()
    api.granted(customer, 100)
    deduction_id = api.done(f"/v1/customers/{customer}/deductions", {"amount": 30})["deduction_id"]
    path = f"/v1/deductions/{deduction_id}/refunds"
    body = {"amount": 10, "reason": "it failed", "expired_lots": "expire"}
    return _example("POST", path, body, {"amount": 11}, 201, "refund_id", "to", "lost")


def hold(api: Api) -> Example:
    customer = new_customer()
    api.granted(customer, 100)
    path = f"/v1/customers/{customer}/holds"
    body = {"amount": 40, "expires_in": 60, "feature": "render"}
    return _example("POST", path, body, {"amount": 40}, 201, "hold_id", "expires_at", "from")


def _held(api: Api) -> str:
    customer = new_customer()
    api.granted(customer, 100)
    held: str = api.done(f"/v1/customers/{customer}/holds", {"amount": 40})["hold_id"]
    return held


def capture(api: Api) -> Example:
    path = f"/v1/holds/{_held(api)}/capture"
    body = {"amount": 25, "final": True, "feature": "render"}
    return _example("POST", path, body, {"amount": 26}, 201, "deduction_id", "released")


def release(api: Api) -> Example:
    path = f"/v1/holds/{_held(api)}/release"
    return _example("POST", path, {"reason": "given up"}, {"reason": "other"}, 200, "released")


def revoke(api: Api) -> Example:
    grant_id = api.granted(new_customer(), 100)["grant_id"]
    path = f"/v1/grants/{grant_id}/revocations"
    body = {"amount": 60, "reason": "charged back", "policy": "write_off"}
    answers = ("revocation_id", "from", "debt", "written_off")
    return _example("POST", path, body, {"amount": 60}, 201, *answers)


def reinstate(api: Api) -> Example:
    grant_id = api.granted(new_customer(), 100)["grant_id"]
    api.done(f"/v1/grants/{grant_id}/revocations", {"amount": 60})
    path = f"/v1/grants/{grant_id}/reinstatements"
    body = {"amount": 20, "reason": "won"}
    return _example("POST", path, body, {"amount": 21}, 201, "to", "debt_cancelled")


def change_expiry(api: Api) -> Example:
    grant_id = api.granted(new_customer(), 100)["grant_id"]
    body = {"expires_at": "2100-01-01T00:00:00Z"}
    return _example("PATCH", f"/v1/grants/{grant_id}", body, {"expires_at": None}, 200)


def set_overage(api: Api) -> Example:
    path = f"/v1/customers/{new_customer()}/overage"
    body = {"asset": "credits", "limit": 50}
    return _example("PUT", path, body, {"limit": None}, 200)


def transfer(api: Api) -> Example:
    sender = new_customer()
    api.granted(sender, 100)
    body = {"from_customer_id": sender, "to_customer_id": new_customer(), "amount": 70}
    changed = {**body, "amount": 71}
    return _example("POST", "/v1/transfers", body, changed, 201, "deduction_id", "grants")


EVERY_COMMAND: tuple[Prepare, ...] = (
    grant,
    deduct,
    refund,
    hold,
    capture,
    release,
    revoke,
    reinstate,
    change_expiry,
    set_overage,
    transfer,
)


@dataclass(frozen=True)
class Refusal:
    """A request that a rule refuses, with the code, the status, and the values that are told."""

    method: str
    path: str
    body: Mapping[str, Any]
    status: int
    code: str
    values: Mapping[str, Any]


PrepareRefusal = Callable[[Api], Refusal]


def too_little(api: Api) -> Refusal:
    customer = new_customer()
    api.granted(customer, 10)
    path = f"/v1/customers/{customer}/deductions"
    values = {"available": 10, "required": 11}
    return Refusal("POST", path, {"amount": 11}, 402, "insufficient_credits", values)


def too_little_to_hold(api: Api) -> Refusal:
    path = f"/v1/customers/{new_customer()}/holds"
    values = {"available": 0, "required": 1}
    return Refusal("POST", path, {"amount": 1}, 402, "insufficient_credits", values)


def too_little_to_transfer(api: Api) -> Refusal:
    body = {"from_customer_id": new_customer(), "to_customer_id": new_customer(), "amount": 5}
    values = {"available": 0, "required": 5}
    return Refusal("POST", "/v1/transfers", body, 402, "insufficient_credits", values)


def no_hold(api: Api) -> Refusal:
    path = f"/v1/holds/{NO_HOLD}/capture"
    return Refusal("POST", path, {}, 404, "hold_not_found", {"hold_id": NO_HOLD})


def no_hold_to_release(api: Api) -> Refusal:
    values = {"hold_id": "nonsense"}
    return Refusal("POST", "/v1/holds/nonsense/release", {}, 404, "hold_not_found", values)


def no_deduction(api: Api) -> Refusal:
    path = f"/v1/deductions/{NO_DEDUCTION}/refunds"
    values = {"deduction_id": NO_DEDUCTION}
    return Refusal("POST", path, {}, 404, "deduction_not_found", values)


def no_grant(api: Api) -> Refusal:
    path = f"/v1/grants/{NO_GRANT}/revocations"
    return Refusal("POST", path, {}, 404, "grant_not_found", {"grant_id": NO_GRANT})


def no_grant_to_change(api: Api) -> Refusal:
    path = f"/v1/grants/{NO_GRANT}"
    body = {"expires_at": None}
    return Refusal("PATCH", path, body, 404, "grant_not_found", {"grant_id": NO_GRANT})


def captured_hold(api: Api) -> Refusal:
    hold_id = _held(api)
    api.done(f"/v1/holds/{hold_id}/capture")
    values = {"hold_id": hold_id, "how": "captured"}
    return Refusal("POST", f"/v1/holds/{hold_id}/capture", {}, 409, "hold_closed", values)


def released_hold(api: Api) -> Refusal:
    hold_id = _held(api)
    api.done(f"/v1/holds/{hold_id}/release")
    values = {"hold_id": hold_id, "how": "released"}
    return Refusal("POST", f"/v1/holds/{hold_id}/capture", {}, 409, "hold_closed", values)


def refunded_deduction(api: Api) -> Refusal:
    spent = refund(api)
    values = {"requested": 31, "refundable": 30}
    body = {"amount": 31}
    return Refusal("POST", spent.path, body, 409, "refund_exceeds_deduction", values)


def too_much_to_revoke(api: Api) -> Refusal:
    path = revoke(api).path
    values = {"requested": 101, "revocable": 100}
    return Refusal("POST", path, {"amount": 101}, 409, "revocation_exceeds_grant", values)


def too_much_to_reinstate(api: Api) -> Refusal:
    path = reinstate(api).path
    values = {"requested": 61, "reinstatable": 60}
    body = {"amount": 61}
    return Refusal("POST", path, body, 409, "reinstatement_exceeds_revocation", values)


def transferred(api: Api) -> Refusal:
    sent = transfer(api)
    deduction_id = api.done(sent.path, dict(sent.body))["deduction_id"]
    path = f"/v1/deductions/{deduction_id}/refunds"
    values = {"deduction_id": deduction_id}
    return Refusal("POST", path, {}, 409, "transfer_not_refundable", values)


def too_large_a_sum(api: Api) -> Refusal:
    customer = new_customer()
    api.granted(customer, 2**53 - 1)
    path = f"/v1/customers/{customer}/grants"
    values = {"would_be": 2**53, "limit": 2**53 - 1}
    return Refusal("POST", path, {"amount": 1}, 409, "balance_limit_exceeded", values)


EVERY_REFUSAL: tuple[PrepareRefusal, ...] = (
    too_little,
    too_little_to_hold,
    too_little_to_transfer,
    no_hold,
    no_hold_to_release,
    no_deduction,
    no_grant,
    no_grant_to_change,
    captured_hold,
    released_hold,
    refunded_deduction,
    too_much_to_revoke,
    too_much_to_reinstate,
    transferred,
    too_large_a_sum,
)
