"""Receipts: the proof that one wish was decided, and what it was told.

A wish is a command with its caller's idempotency key. Its receipt is stored in the same
transaction as the events, accepted or refused, and is kept for ever (domain/README.md, 9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.commands import Command
from creditledger.domain.errors import LedgerError
from creditledger.domain.values import value

#: What a command was told, ready for JSON: dicts, lists, strings, integers and None.
Answer = Mapping[str, Any]

ACCEPTED = "accepted"


@value(kw_only=True)
class Wish:
    """One command as a client sent it.

    `key` is None for what the service itself wishes (natural identities protect it) and for dry
    runs. `fingerprint` tells whether a key came back with the same command.
    """

    command: Command
    actor: str
    client_id: str
    key: str | None
    fingerprint: bytes = b""
    causation_id: str | None = None
    correlation_id: str | None = None
    dry_run: bool = False
    #: The id of this wish's receipt, derived from client and key, and as it is told.
    receipt_id: UUID | None = field(init=False, compare=False)
    receipt_public_id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        receipt_id = _receipt_id(self.client_id, self.key)
        public_id = "" if receipt_id is None else ids.stream_id(ids.RECEIPT, receipt_id)
        object.__setattr__(self, "receipt_id", receipt_id)
        object.__setattr__(self, "receipt_public_id", public_id)

    @property
    def cause(self) -> str:
        """What leads to its events: what is said, else its receipt, else the actor alone."""
        return self.causation_id or self.receipt_public_id or self.actor


@value(kw_only=True)
class Batch:
    """Several wishes that are decided in order, in one transaction, under a key of their own."""

    wishes: Sequence[Wish]
    all_or_nothing: bool
    client_id: str
    key: str | None
    fingerprint: bytes = b""
    dry_run: bool = False
    #: The id of the batch's own receipt.
    receipt_id: UUID | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "receipt_id", _receipt_id(self.client_id, self.key))


def _receipt_id(client_id: str, key: str | None) -> UUID | None:
    return None if key is None else ids.receipt_uuid(client_id, key)


def told_and_asked(answer: Answer) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What the caller was told, and, of a refusal, what was asked: that is for those who look."""
    told = dict(answer)
    return told, told.pop("asked", None)


@value(kw_only=True)
class Receipt:
    """What one wish was told.

    `outcome` is `accepted` or the code of the refusal; `answer` the body for the caller (the
    values of the refusal, with its sentence as `detail`), without the position. A refusal's has
    `asked` beside, which the caller is not told: what the command was, for those who look it up.
    `position` is where in the log the change stands. `replayed` tells that this is a first answer
    again. A wish without a key has a receipt, too, with the nil UUID, which is told and not stored.
    """

    id: UUID
    client_id: str
    key: str
    fingerprint: bytes
    command: str
    customer_id: str | None
    asset: str | None
    outcome: str
    answer: Answer
    recorded_at: datetime
    position: int = 0
    replayed: bool = False
    #: The `rcp_` id; worked out where it is not given.
    public_id: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.public_id:
            object.__setattr__(self, "public_id", ids.stream_id(ids.RECEIPT, self.id))

    def settle(self, position: int) -> None:
        """Say where in the log it stands: once, before anybody has seen it."""
        object.__setattr__(self, "position", position)

    def as_replay(self) -> Receipt:
        """The same receipt, told for a second time."""
        return replace(self, replayed=True)


@value(kw_only=True)
class BatchReceipt:
    """What a batch was told: a receipt or an error for each of its wishes, and its own receipt.

    The own receipt's outcome is `accepted`, or `batch_refused` where one refusal refused all.
    """

    receipt: Receipt
    results: Sequence[Receipt | LedgerError]


#: What `Ledger.handle` gives back for each wish or batch. Errors in it (`Invalid`, `KeyReused`,
#: `Parked`) are not remembered: the same key may be tried again.
Outcome = Receipt | BatchReceipt | LedgerError
