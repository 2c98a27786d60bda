"""What can be wished of the ledger: one value for each command.

A command holds what was sent, never what it resolves to: its fingerprint must not change with the
clock or the balance. Amounts are 1 to `CREDITS_MAX`; times are aware.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from creditledger.domain.amounts import Credits, Money
from creditledger.domain.events import (
    ExpiredLotsPolicy,
    MetadataValue,
    OveragePeriod,
    RevocationPolicy,
)
from creditledger.domain.values import value

Metadata = Mapping[str, MetadataValue]


@value(kw_only=True)
class Command:
    """The base of all commands; `NAME` is its type in batches and receipts."""

    NAME: ClassVar[str]

    metadata: Metadata | None = None
    happened_at: datetime | None = None


@value(kw_only=True)
class GrantCredits(Command):
    """Give credits: at most one of `expires_at` and `expires_after_days`."""

    NAME: ClassVar[str] = "grant"

    customer_id: str
    asset: str = "credits"
    amount: Credits
    source: str = "adjustment"
    expires_at: datetime | None = None
    expires_after_days: int | None = None
    effective_at: datetime | None = None
    priority: int | None = None
    cost_basis: Money | None = None
    reference: str | None = None


@value(kw_only=True)
class DeductCredits(Command):
    """Spend credits."""

    NAME: ClassVar[str] = "deduct"

    customer_id: str
    asset: str = "credits"
    amount: Credits
    feature: str | None = None


@value(kw_only=True)
class RefundDeduction(Command):
    """Give a deduction back: `amount`, or all that is left of it."""

    NAME: ClassVar[str] = "refund"

    deduction_id: str
    amount: Credits | None = None
    reason: str | None = None
    expired_lots: ExpiredLotsPolicy = "grace"


@value(kw_only=True)
class HoldCredits(Command):
    """Set credits aside for `expires_in` seconds (None: the policy's default)."""

    NAME: ClassVar[str] = "hold"

    customer_id: str
    asset: str = "credits"
    amount: Credits
    expires_in: int | None = None
    feature: str | None = None


@value(kw_only=True)
class CaptureHold(Command):
    """Spend `amount` (None: all that it holds) of a hold, and release the rest unless not final."""

    NAME: ClassVar[str] = "capture"

    hold_id: str
    amount: Credits | None = None
    final: bool = True
    feature: str | None = None


@value(kw_only=True)
class ReleaseHold(Command):
    """Give back what a hold still pins."""

    NAME: ClassVar[str] = "release"

    hold_id: str
    reason: str | None = None


@value(kw_only=True)
class RevokeGrant(Command):
    """Take a grant back: `amount`, or all of it that is not revoked yet."""

    NAME: ClassVar[str] = "revoke"

    grant_id: str
    amount: Credits | None = None
    reason: str | None = None
    policy: RevocationPolicy | None = None


@value(kw_only=True)
class ReinstateGrant(Command):
    """Undo a revocation: `amount`, or all that is revoked."""

    NAME: ClassVar[str] = "reinstate"

    grant_id: str
    amount: Credits | None = None
    reason: str | None = None


@value(kw_only=True)
class ChangeExpiry(Command):
    """Let a grant's lot end at another time; None: never."""

    NAME: ClassVar[str] = "change_expiry"

    grant_id: str
    expires_at: datetime | None


@value(kw_only=True)
class SetOverageLimit(Command):
    """Allow spending beyond the lots: 0 is off, None without limit."""

    NAME: ClassVar[str] = "set_overage_limit"

    customer_id: str
    asset: str = "credits"
    limit: Credits | None
    period: OveragePeriod = "month"


@value(kw_only=True)
class TransferCredits(Command):
    """Give credits of one customer to another, lot by lot."""

    NAME: ClassVar[str] = "transfer"

    from_customer_id: str
    to_customer_id: str
    asset: str = "credits"
    amount: Credits


@value(kw_only=True)
class ExpireDue(Command):
    """Write down what time has done to an account: the sweeper's command, without a key."""

    NAME: ClassVar[str] = "expire"

    account_id: UUID
