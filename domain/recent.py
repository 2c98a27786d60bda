"""Recent receipts: first answers kept at hand, for retries that come soon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from creditledger.domain.receipt import Receipt

#: So many are kept, and up to twice as many; older ones are found in the store.
RECENT_RECEIPTS: Final = 10_000


class RecentReceipts:
    """Saved receipts by their ids, in two generations, so that none is ever looked at to go."""

    __slots__ = ("_newer", "_older")

    def __init__(self) -> None:
        self._newer: dict[UUID, Receipt] = {}
        self._older: dict[UUID, Receipt] = {}

    def get(self, receipt_id: UUID) -> Receipt | None:
        """The receipt, where it is at hand."""
        return self._newer.get(receipt_id) or self._older.get(receipt_id)

    def update(self, receipts: Mapping[UUID, Receipt]) -> None:
        """Keep these, and let go of those longest here."""
        self._newer.update(receipts)
        if len(self._newer) >= RECENT_RECEIPTS:
            self._older, self._newer = self._newer, {}
