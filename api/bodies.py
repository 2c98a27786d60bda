"""What commands are sent as: one model for each, with the fields of its command.

What stands in the path of a single command (`customer_id`, `hold_id`…) is a field in a batch.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from creditledger.api.values import (
    Amount,
    AmountOrZero,
    Asset,
    CustomerId,
    ExpiresAfterDays,
    Feature,
    IdText,
    Key,
    MetadataField,
    Priority,
    Reason,
    Reference,
    Text,
    Time,
)
from creditledger.domain import commands as c
from creditledger.domain.amounts import Money
from creditledger.domain.policies import DEFAULT_PRIORITIES, Policies

#: Commands in a batch: some tens of milliseconds of the writer, which others wait for.
BATCH_COMMANDS_MAX: Final = 1_000

_HOLD_SECONDS_MAX: Final = Policies().hold_expires_in_max


class Body(BaseModel):
    """The fields that every command has."""

    model_config = ConfigDict(extra="forbid", strict=True)

    COMMAND: ClassVar[type[c.Command]]

    happened_at: Time | None = Field(
        default=None, description="When it happened outside; not in the future, decides nothing"
    )
    metadata: MetadataField | None = None

    def command(self, **subject: str) -> c.Command:
        """The command, about what the path names."""
        values: dict[str, Any] = {**self.__dict__, **subject}
        return self.COMMAND(**values)


class CostBasis(BaseModel):
    """What was paid for the credits."""

    model_config = ConfigDict(extra="forbid", strict=True)

    amount: AmountOrZero = Field(description="In minor units, such as cents", examples=[1999])
    currency: Annotated[str, Text(3, r"^[A-Z]{3}$", "should be three capital letters")] = Field(
        description="ISO 4217", examples=["EUR"]
    )


def _money(cost: CostBasis) -> Money:
    return Money(cost.amount, cost.currency)


class GrantBody(Body):
    """Credits to give."""

    COMMAND = c.GrantCredits

    amount: Amount = Field(examples=[1000])
    asset: Asset = "credits"
    source: Annotated[str, Text(32)] = Field(
        default="adjustment",
        description="Where they come from: decides the priority, unless one is set",
        json_schema_extra={"enum": [*sorted(DEFAULT_PRIORITIES)]},
    )
    expires_at: Time | None = Field(default=None, description="Without it, or null: never")
    expires_after_days: ExpiresAfterDays | None = Field(
        default=None, description="Instead of expires_at, counted from effective_at"
    )
    effective_at: Time | None = Field(default=None, description="When they can be spent; now")
    priority: Priority | None = None
    cost_basis: Annotated[CostBasis, AfterValidator(_money)] | None = None
    reference: Reference | None = None


class DeductionBody(Body):
    """Credits to spend."""

    COMMAND = c.DeductCredits

    amount: Amount = Field(examples=[25])
    asset: Asset = "credits"
    feature: Feature | None = None


class RefundBody(Body):
    """How much of a deduction to give back."""

    COMMAND = c.RefundDeduction

    amount: Amount | None = Field(default=None, description="Without it, or null: all that is left")
    reason: Reason | None = None
    expired_lots: Literal["grace", "expire"] = Field(
        default="grace",
        description="What goes back to an expired lot is granted anew for some days, or lost",
    )


class HoldBody(Body):
    """Credits to set aside."""

    COMMAND = c.HoldCredits

    amount: Amount = Field(examples=[100])
    asset: Asset = "credits"
    expires_in: Annotated[int, Field(strict=True, ge=1, le=_HOLD_SECONDS_MAX)] | None = Field(
        default=None, description="Seconds that it lives; 900 unless set otherwise"
    )
    feature: Feature | None = None


class CaptureBody(Body):
    """How much of a hold to spend."""

    COMMAND = c.CaptureHold

    amount: Amount | None = Field(default=None, description="Without it, or null: all that is held")
    final: bool = Field(default=True, description="Whether the rest is released")
    feature: Feature | None = None


class ReleaseBody(Body):
    """A hold to give up."""

    COMMAND = c.ReleaseHold

    reason: Reason | None = None


class RevocationBody(Body):
    """How much of a grant to take back."""

    COMMAND = c.RevokeGrant

    amount: Amount | None = Field(
        default=None, description="Without it, or null: all that is not revoked yet"
    )
    reason: Reason | None = None
    policy: Literal["debt", "write_off"] | None = Field(
        default=None, description="What becomes of credits that are spent; `debt` unless set so"
    )


class ReinstatementBody(Body):
    """How much of a revocation to undo."""

    COMMAND = c.ReinstateGrant

    amount: Amount | None = Field(default=None, description="Without it, or null: all that is")
    reason: Reason | None = None


class ExpiryBody(Body):
    """When a grant's credits end."""

    COMMAND = c.ChangeExpiry

    expires_at: Time | None = Field(description="null: never")


class OverageBody(Body):
    """How much may be spent beyond the lots."""

    COMMAND = c.SetOverageLimit

    asset: Asset = "credits"
    limit: AmountOrZero | None = Field(description="0: nothing; null: without limit")
    period: Literal["month", "day", "year"] = Field(
        default="month", description="Counted anew from the start of each, in UTC"
    )


class TransferBody(Body):
    """Credits to give from one customer to another."""

    COMMAND = c.TransferCredits

    from_customer_id: CustomerId
    to_customer_id: CustomerId = Field(examples=["globex"])
    asset: Asset = "credits"
    amount: Amount = Field(examples=[50])


class Item(Body):
    """One command of a batch."""

    idempotency_key: Key | None = Field(
        default=None, description="Names this command; left out in a dry run only"
    )

    def command(self, **subject: str) -> c.Command:
        """The command, without what belongs to the batch."""
        values: dict[str, Any] = {**self.__dict__, **subject}
        del values["type"], values["idempotency_key"]
        return self.COMMAND(**values)


class GrantItem(GrantBody, Item):
    """Give credits."""

    type: Literal["grant"]
    customer_id: CustomerId


class DeductionItem(DeductionBody, Item):
    """Spend credits."""

    type: Literal["deduct"]
    customer_id: CustomerId


class HoldItem(HoldBody, Item):
    """Set credits aside."""

    type: Literal["hold"]
    customer_id: CustomerId


class CaptureItem(CaptureBody, Item):
    """Spend what is held."""

    type: Literal["capture"]
    hold_id: IdText


class ReleaseItem(ReleaseBody, Item):
    """Give up a hold."""

    type: Literal["release"]
    hold_id: IdText


class RefundItem(RefundBody, Item):
    """Give a deduction back."""

    type: Literal["refund"]
    deduction_id: IdText


class RevocationItem(RevocationBody, Item):
    """Take a grant back."""

    type: Literal["revoke"]
    grant_id: IdText


class ReinstatementItem(ReinstatementBody, Item):
    """Undo a revocation."""

    type: Literal["reinstate"]
    grant_id: IdText


class TransferItem(TransferBody, Item):
    """Give credits of one customer to another."""

    type: Literal["transfer"]


AnyItem = Annotated[
    GrantItem
    | DeductionItem
    | HoldItem
    | CaptureItem
    | ReleaseItem
    | RefundItem
    | RevocationItem
    | ReinstatementItem
    | TransferItem,
    Field(discriminator="type"),
]


class BatchBody(BaseModel):
    """Commands that are decided in order, in one transaction."""

    model_config = ConfigDict(extra="forbid", strict=True)

    commands: Annotated[list[AnyItem], Field(min_length=1, max_length=BATCH_COMMANDS_MAX)]
    mode: Literal["independent", "all_or_nothing"] = Field(
        default="independent", description="`all_or_nothing`: one refusal refuses all"
    )
