"""What queries are answered: models for the OpenAPI document. The values come from the rows."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from creditledger.api.answers import Balance, Figure, LotPart, Moment, Told
from creditledger.projections.entry_lines import KINDS

_CURSOR = "Where the next page begins; null at the end"


class LotAnswer(Told):
    """What is left of a grant."""

    grant_id: str
    source: str
    priority: int
    granted: Figure
    remaining: Figure = Field(description="Free: not spent, not held")
    held: Figure
    effective_at: Moment
    expires_at: Moment | None


class AssetBalance(Balance):
    """One asset's balance."""

    by_source: dict[str, int] = Field(description="What is available, by where it came from")
    next_expiry: Moment | None = Field(description="When the next free credits end")
    lots: list[LotAnswer] = Field(description="In burn order")


class BalancesAnswer(Told):
    """A customer's balances."""

    customer_id: str
    position: Figure = Field(description="The position that the answer stands for")
    balances: list[AssetBalance]
    at: Moment | SkipJsonSchema[None] = Field(
        default=None, description="As of when, where it was answered from the events"
    )


class EntryAnswer(Told):
    """One line of the history; facts of its kind (`grant_id`, `hold_id`…) stand beside."""

    entry_id: str
    customer_id: str
    asset: str
    kind: str = Field(json_schema_extra={"enum": [*KINDS]})
    amount: int = Field(description="As it changes the total: negative where credits go")
    total_after: Figure = Field(description="Available, held and scheduled together")
    available_after: Figure
    feature: str | None
    lots: list[LotPart]
    actor: str
    causation_id: str
    correlation_id: str
    happened_at: Moment
    recorded_at: Moment
    position: Figure
    metadata: dict[str, Any] | None


class WithHistory(Told):
    """A thing with a page of what happened to it."""

    history: list[EntryAnswer] = Field(description="What happened to it, newest first")
    next_cursor: str | None = Field(
        description="Where the next page of the history begins; null at the end"
    )


class EntryPage(Told):
    """A page of entries, newest first."""

    entries: list[EntryAnswer]
    next_cursor: str | None = Field(description=_CURSOR)


class Explained(LotPart):
    """Why one lot was touched."""

    source: str
    priority: int
    effective_at: Moment
    expires_at: Moment | None
    cost: dict[str, Any] | None = Field(description="`amount` and `currency` of this part")
    payment_id: str | None
    place: int | None = Field(description="In the order at that moment, from 1")
    of: int | None = Field(description="How many places there were")
    why: str


class ExplanationAnswer(Told):
    """Why an entry touched its lots."""

    entry_id: str
    recorded_at: Moment
    lots: list[Explained]


class HoldSummary(Told):
    """A hold as it is now."""

    hold_id: str
    customer_id: str
    asset: str
    status: Literal["open", "captured", "released", "lapsed"]
    amount: Figure
    held: Figure = Field(description="What it still pins")
    captured: Figure
    released: Figure
    lots: list[LotPart]
    feature: str | None
    expires_at: Moment
    closed_at: Moment | None
    happened_at: Moment | None
    recorded_at: Moment
    metadata: dict[str, Any] | None


class HoldPage(Told):
    """A page of holds, newest first."""

    holds: list[HoldSummary]
    next_cursor: str | None = Field(description=_CURSOR)


class HoldDetail(HoldSummary, WithHistory):
    """A hold with what happened to it."""


class GrantDetail(WithHistory):
    """A grant, what is left of it now, and what happened to it."""

    grant_id: str
    customer_id: str
    asset: str
    amount: Figure
    source: str
    priority: int
    effective_at: Moment
    expires_at: Moment | None
    payment_id: str | None
    reference: str | None
    remaining: Figure
    held: Figure
    revoked: Figure
    written_off: Figure
    debt: Figure
    recorded_at: Moment
    metadata: dict[str, Any] | None
    position: Figure


class DeductionDetail(EntryAnswer, WithHistory):
    """A deduction, how much of it was refunded, and what happened to it."""

    deduction_id: str
    refunded: Figure


class RefusalAnswer(Told):
    """A refused command: what was asked, and what was there."""

    receipt_id: str
    idempotency_key: str
    command: str
    customer_id: str | None
    asset: str | None
    outcome: str = Field(description="`accepted`, or the problem's code")
    asked: dict[str, Any] | None = Field(
        description="The fields of the refused command, those that it left out by their "
        "defaults; its customer and asset stand beside, where they are known. null for accepted "
        "commands, whose entries say it, for batches, and where it was refused by a release that "
        "did not keep this"
    )
    answer: dict[str, Any] = Field(
        description="What it was told; of a refusal, `detail` and the values of what was there"
    )
    position: Figure
    recorded_at: Moment


class RefusalPage(Told):
    """A page of refusals, newest first."""

    refusals: list[RefusalAnswer]
    next_cursor: str | None = Field(description=_CURSOR)


class ReceiptAnswer(RefusalAnswer):
    """What a command was told."""

    client_id: str
    accepted: bool


class EventAnswer(Told):
    """An event of the log; `data` holds the facts of its type, as messages to Kafka do."""

    event_id: str
    position: Figure
    type: str = Field(examples=["Deducted"])
    data_schema: str = Field(
        description="Which schema of the AsyncAPI document `data` conforms to",
        examples=["urn:creditledger:events:credits.deducted.v1"],
    )
    stream: str
    version: int
    customer_id: str | None
    asset: str | None
    recorded_at: Moment
    happened_at: Moment | None
    actor: str
    causation_id: str
    correlation_id: str
    metadata: dict[str, Any] | None
    data: dict[str, Any]


class EventPage(Told):
    """A page of the log, in order."""

    events: list[EventAnswer]
    next_after: Figure = Field(description="`after` of the next page")
    has_more: bool
