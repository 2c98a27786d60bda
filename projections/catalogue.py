"""All read models there are."""

from __future__ import annotations

from typing import Final

from creditledger.projections.balances import Balances
from creditledger.projections.entries import Entries
from creditledger.projections.holds import Holds
from creditledger.projections.links import Links
from creditledger.projections.payments import Payments
from creditledger.projections.prices import Prices
from creditledger.projections.projection import Projection
from creditledger.projections.subscriptions import Subscriptions

PROJECTIONS: Final[tuple[Projection, ...]] = (
    Balances(),
    Entries(),
    Holds(),
    Payments(),
    Subscriptions(),
    Prices(),
    Links(),
)


def projection_named(name: str) -> Projection:
    """The projection of this name. Raises LookupError, which lists those that there are."""
    for projection in PROJECTIONS:
        if projection.name == name:
            return projection
    known = ", ".join(projection.name for projection in PROJECTIONS)
    raise LookupError(f"there is no projection {name!r}, but {known}")
