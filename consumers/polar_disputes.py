"""Polar's disputes as commands: no event tells of them, reconciliation reads them from the API."""

from __future__ import annotations

from typing import Final

from creditledger.consumers.reading import Ignored, Reader, Told, moment_of
from creditledger.domain.provider_commands import DisputeStanding, ReportDispute

#: What a dispute's status does to the money, for each that polar-sdk 1.0.2 lists.
_STANDINGS: Final[dict[str, DisputeStanding]] = {
    "early_warning": "inquiry",
    "needs_response": "open",
    "under_review": "open",
    "won": "won",
    "lost": "lost",
    "prevented": "prevented",
}


def dispute(envelope: Reader, of: Reader) -> Told | Ignored:
    """A dispute over an order. Its amount is before tax, as those of orders and refunds are."""
    order_id = of.id_or_none("order_id")
    if order_id is None:
        return Ignored("no_payment_named")
    status = of.one_of("status", _STANDINGS)
    at = moment_of(of) or envelope.time("timestamp")
    report = ReportDispute(
        provider="polar",
        provider_id=order_id,
        dispute_id=of.id("id"),
        amount=of.money("amount"),
        standing=_STANDINGS[status],
        status=status,
        as_of=at,
        happened_at=at,
    )
    return Told((report,))
