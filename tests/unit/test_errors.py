"""Every refusal has a code, a sentence, and the values that the caller needs to act on it."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

import pytest

from creditledger.domain import errors
from creditledger.domain.errors import (
    HoldClosed,
    InsufficientCredits,
    LedgerError,
    NotFound,
    RefundExceedsDeduction,
    Refused,
    ReinstatementExceedsRevocation,
    RevocationExceedsGrant,
    Untimely,
)


def _every_error(kind: type[LedgerError] = LedgerError) -> Iterator[type[LedgerError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _every_error(sub)


CODED = [kind for kind in dict.fromkeys(_every_error()) if kind not in (Refused, NotFound)]


def test_an_error_says_its_sentence_with_the_values_in_it() -> None:
    error = InsufficientCredits(required=11, available=10)
    assert error.message == "Not enough credits: 11 needed, 10 available."
    assert str(error) == error.message
    assert error.values == {"required": 11, "available": 10}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            HoldClosed(hold_id="hld_1", how="lapsed"),
            "The hold hld_1 is closed: it has lapsed.",
        ),
        (
            HoldClosed(hold_id="hld_1", how="released"),
            "The hold hld_1 is closed: it was released.",
        ),
        (
            RefundExceedsDeduction(requested=0, refundable=0, deduction_id="ded_1"),
            "Nothing of the deduction ded_1 is left to be refunded.",
        ),
        (
            RefundExceedsDeduction(requested=2, refundable=1, deduction_id="ded_1"),
            "2 cannot be refunded: of the deduction ded_1, 1 can be.",
        ),
        (
            RevocationExceedsGrant(requested=0, revocable=0, grant_id="grt_1"),
            "Nothing of the grant grt_1 is left to be revoked.",
        ),
        (
            ReinstatementExceedsRevocation(requested=0, reinstatable=0, grant_id="grt_1"),
            "Nothing of the grant grt_1 is revoked, so nothing can be reinstated.",
        ),
    ],
)
def test_a_sentence_fits_its_values(error: LedgerError, sentence: str) -> None:
    assert error.message == sentence


@pytest.mark.parametrize("kind", CODED, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_formats_its_values(kind: type[LedgerError]) -> None:
    fields = [name for _, name, _, _ in Formatter().parse(kind.__doc__ or "") if name]
    error = kind(**dict.fromkeys(fields, "x"))
    assert kind.code == kind.code.lower()
    assert error.values == dict.fromkeys(fields, "x")
    assert "{" not in error.message


def test_no_two_errors_share_a_code() -> None:
    """But what is untimely, which callers are told as what does not fit."""
    codes = [kind.code for kind in CODED if kind is not Untimely]
    assert len(set(codes)) == len(codes)


def test_what_is_not_remembered_is_no_refusal() -> None:
    """A receipt is kept for refusals alone: the same key may be tried again after the others."""
    for kind in (errors.Invalid, errors.KeyReused, errors.Parked):
        assert not issubclass(kind, Refused)


def test_the_codes_of_the_contract() -> None:
    """Clients match on codes: they are fixed."""
    assert {kind.code for kind in CODED if issubclass(kind, Refused)} >= {
        "insufficient_credits",
        "hold_not_found",
        "deduction_not_found",
        "grant_not_found",
        "payment_not_found",
        "hold_closed",
        "refund_exceeds_deduction",
        "revocation_exceeds_grant",
        "reinstatement_exceeds_revocation",
        "transfer_not_refundable",
        "balance_limit_exceeded",
        "batch_refused",
    }
