"""What merchants write into the metadata of a price or product: how many credits it is worth."""

from __future__ import annotations

from creditledger.consumers.reading import Reader
from creditledger.domain.amounts import NO_CREDITS
from creditledger.domain.provider_commands import LearnedPrice, PriceKind


def learned(metadata: Reader, *, kind: PriceKind, name: str | None) -> LearnedPrice | None:
    """What the metadata says, None where it says nothing of credits; `name` where it has none.

    Usage is billed after it, so it is worth no credits whatever the metadata says. Raises Parked
    where `credits` is no whole number from 0 to `CREDITS_MAX`.
    """
    credits = NO_CREDITS if kind == "usage" else metadata.credits_or_none("credits")
    if credits is None:
        return None
    return LearnedPrice(
        credits=credits,
        kind=kind,
        name=metadata.label_or_none("publicName") or name,
        plan_family=metadata.label_or_none("planFamily"),
        version=metadata.label_or_none("version"),
        internal_id=metadata.label_or_none("internalId"),
    )
