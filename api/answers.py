"""What commands are answered: models for the OpenAPI document. The values come from the ledger."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

_TIME = {"format": "date-time", "examples": ["2026-12-31T23:59:59.000000Z"]}

Moment = Annotated[str, Field(json_schema_extra=_TIME)]
Figure = Annotated[int, Field(ge=0)]


class Told(BaseModel):
    """The base of all answers; later versions may add fields."""

    model_config = ConfigDict(extra="allow")


class Balance(Told):
    """An account's five figures; debt and overage reduce none of the others."""

    asset: str = Field(examples=["credits"])
    available: Figure = Field(description="What can be spent now")
    held: Figure = Field(description="What open holds pin")
    scheduled: Figure = Field(description="What has not started")
    debt: Figure = Field(description="Revoked after it was spent; the next grants repay it")
    overage: Figure = Field(description="Spent beyond the lots in this period")


class LotPart(Told):
    """So much of one lot."""

    grant_id: str
    amount: Figure


class DrawnLot(LotPart):
    """What one lot gave."""

    source: str
    expires_at: Moment | None


class CommandAnswer(Told):
    """What every accepted command is answered."""

    position: Figure = Field(description="Where in the log the change stands")
    balance: Balance = Field(description="As it is right after the command")
    receipt_id: str | SkipJsonSchema[None] = Field(
        default=None, description="Its receipt, kept for ever; a dry run has none"
    )
    dry_run: Literal[True] | SkipJsonSchema[None] = Field(
        default=None, description="Said where it was one: nothing was written"
    )


class GrantAnswer(CommandAnswer):
    """The grant."""

    grant_id: str
    amount: Figure
    source: str
    priority: int
    effective_at: Moment
    expires_at: Moment | None
    debt_repaid: Figure = Field(description="What went to open debts at once")


class DeductionAnswer(CommandAnswer):
    """The deduction."""

    deduction_id: str
    amount: Figure
    from_: list[DrawnLot] = Field(alias="from", description="Which lots paid, in burn order")
    overage: Figure = Field(description="What was spent beyond the lots")


class CaptureAnswer(DeductionAnswer):
    """The deduction that a capture is."""

    hold_id: str
    released: Figure = Field(description="What of the hold was given back")


class RefundAnswer(CommandAnswer):
    """The refund."""

    refund_id: str
    deduction_id: str
    amount: Figure
    overage: Figure = Field(description="What reduced the overage that had paid")
    to: list[LotPart] = Field(description="Where the credits are now")
    lost: Figure = Field(description="What expired at once")
    recovered: Figure = Field(description="What went to debts of revoked lots")


class HoldAnswer(CommandAnswer):
    """The hold."""

    hold_id: str
    amount: Figure
    expires_at: Moment
    from_: list[DrawnLot] = Field(alias="from", description="Which lots it pins")


class ReleaseAnswer(CommandAnswer):
    """What was given back."""

    hold_id: str
    released: Figure = Field(description="0 where it was released or lapsed before")


class RevocationAnswer(CommandAnswer):
    """The revocation."""

    revocation_id: str
    grant_id: str
    amount: Figure
    from_: list[LotPart] = Field(alias="from", description="Which lots it was taken from")
    debt: Figure
    written_off: Figure


class ReinstatementAnswer(CommandAnswer):
    """The reinstatement."""

    reinstatement_id: str
    grant_id: str
    amount: Figure
    to: list[LotPart]
    debt_cancelled: Figure
    write_off_cancelled: Figure
    lost: Figure


class ExpiryAnswer(CommandAnswer):
    """The grant's new expiry."""

    grant_id: str
    expires_at: Moment | None
    previous_expires_at: Moment | None


class OverageAnswer(CommandAnswer):
    """What may be spent beyond the lots."""

    customer_id: str
    asset: str
    limit: Figure | None
    period: str


class TransferredGrant(LotPart):
    """A grant that the receiver got."""

    expires_at: Moment | None


class TransferAnswer(CommandAnswer):
    """The transfer, as the sender sees it."""

    deduction_id: str
    amount: Figure
    from_: list[DrawnLot] = Field(alias="from")
    grants: list[TransferredGrant] = Field(description="What the receiver got, one for each lot")


class ItemAnswer(Told):
    """What one command of a batch was told: its answer, or its problem, and its own status."""

    status: int = Field(examples=[201])
    idempotency_key: str | SkipJsonSchema[None] = None
    replayed: Literal[True] | SkipJsonSchema[None] = Field(
        default=None, description="Said where it is the first answer again"
    )


class BatchAnswer(Told):
    """What a batch was told."""

    results: list[ItemAnswer] = Field(description="One for each command, in their order")
    position: Figure
    receipt_id: str | SkipJsonSchema[None] = None
    dry_run: Literal[True] | SkipJsonSchema[None] = None


class ProblemAnswer(Told):
    """A problem, as RFC 9457 says it, with the values that matter beside."""

    type: str = Field(examples=["urn:creditledger:problem:insufficient_credits"])
    title: str = Field(examples=["Not enough credits"])
    status: int = Field(examples=[402])
    detail: str = Field(examples=["Not enough credits: 25 needed, 10 available."])
    code: str = Field(description="Stable; decide by this", examples=["insufficient_credits"])
