"""What a command can be told instead of an answer.

Refused                          a rule of the domain says no; remembered by the receipt
├── InsufficientCredits          402
├── NotFound                     404
│   ├── GrantNotFound  HoldNotFound  DeductionNotFound  PaymentNotFound
├── HoldClosed                   409, and all that follow
├── RefundExceedsDeduction
├── RevocationExceedsGrant
├── ReinstatementExceedsRevocation
├── TransferNotRefundable
├── BalanceLimitExceeded
├── PaymentAlreadyGranted
├── BatchRefused
└── Untimely                     422, told as Invalid: at another moment it would fit
Invalid                          422, the command fits at no moment; not remembered
└── KeyReused                    the key belongs to another command; not remembered
Parked                           a provider's news that cannot be booked yet; tried again later
Failed                           a fault of the service; nothing was done

Each class says its sentence in its docstring, with the values in braces, and in `INSTEAD` another
one where a value needs it; HTTP statuses live in `api/problems.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

Value = str | int | None


class Instead(NamedTuple):
    """The sentence where the value of this name is this one."""

    name: str
    value: Value
    sentence: str


class LedgerError(Exception):
    """Something is wrong."""

    code: ClassVar[str]

    INSTEAD: ClassVar[Instead | None] = None

    def __init__(self, **values: Value) -> None:
        self.values = values
        sentence, instead = self.__doc__ or "", self.INSTEAD
        if instead is not None and values[instead.name] == instead.value:
            sentence = instead.sentence
        super().__init__(" ".join(sentence.split()).format(**values))

    @property
    def message(self) -> str:
        """The sentence for people, with the values in it."""
        return str(self.args[0])


class Refused(LedgerError):
    """The command was refused."""


class InsufficientCredits(Refused):
    """Not enough credits: {required} needed, {available} available."""

    code = "insufficient_credits"


class NotFound(Refused):
    """There is no such thing."""


class GrantNotFound(NotFound):
    """There is no grant {grant_id}."""

    code = "grant_not_found"


class HoldNotFound(NotFound):
    """There is no hold {hold_id}."""

    code = "hold_not_found"


class DeductionNotFound(NotFound):
    """There is no deduction {deduction_id}."""

    code = "deduction_not_found"


class PaymentNotFound(NotFound):
    """There is no payment {payment_id}."""

    code = "payment_not_found"


class HoldClosed(Refused):
    """The hold {hold_id} is closed: it was {how}."""

    code = "hold_closed"

    INSTEAD = Instead("how", "lapsed", "The hold {hold_id} is closed: it has lapsed.")


class RefundExceedsDeduction(Refused):
    """{requested} cannot be refunded: of the deduction {deduction_id}, {refundable} can be."""

    code = "refund_exceeds_deduction"

    INSTEAD = Instead(
        "refundable", 0, "Nothing of the deduction {deduction_id} is left to be refunded."
    )


class RevocationExceedsGrant(Refused):
    """{requested} cannot be revoked: of the grant {grant_id}, {revocable} can be."""

    code = "revocation_exceeds_grant"

    INSTEAD = Instead("revocable", 0, "Nothing of the grant {grant_id} is left to be revoked.")


class ReinstatementExceedsRevocation(Refused):
    """{requested} cannot be reinstated: of the grant {grant_id}, {reinstatable} can be."""

    code = "reinstatement_exceeds_revocation"

    INSTEAD = Instead(
        "reinstatable",
        0,
        "Nothing of the grant {grant_id} is revoked, so nothing can be reinstated.",
    )


class TransferNotRefundable(Refused):
    """The deduction {deduction_id} belongs to a transfer: transfer the credits back instead."""

    code = "transfer_not_refundable"


class BalanceLimitExceeded(Refused):
    """The account would hold {would_be}, and a sum cannot exceed {limit}."""

    code = "balance_limit_exceeded"


class PaymentAlreadyGranted(Refused):
    """The payment {payment_id} is granted to {customer_id}: transfer or revoke the credits."""

    code = "payment_already_granted"


class BatchRefused(Refused):
    """commands[{index}] was refused ({refused_code}), so none of the batch was done."""

    code = "batch_refused"


class Invalid(LedgerError):
    """{field}: {reason}."""

    code = "invalid_request"


class Untimely(Refused, Invalid):
    """{field}: {reason}."""


class KeyReused(LedgerError):
    """The idempotency key {idempotency_key} was used for another command: take a new key."""

    code = "idempotency_key_reused"


class Parked(LedgerError):
    """It waits for {waits_for} ({reason})."""

    code = "parked"


class Failed(LedgerError):
    """The service failed on this command, and nothing was done."""

    code = "internal_error"


def error_of(code: str, values: Mapping[str, Value]) -> LedgerError:
    """The error with this code and these values, as it was raised once."""
    return _BY_CODE[code](**values)


def _family(kind: type[LedgerError]) -> Iterator[type[LedgerError]]:
    for member in kind.__subclasses__():
        yield member
        yield from _family(member)


_BY_CODE = {kind.code: kind for kind in _family(LedgerError) if "code" in vars(kind)}
