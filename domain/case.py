"""Cases: a wish or batch that the ledger has in hand, and what was decided on it so far."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.books import Books
from creditledger.domain.errors import BatchRefused, LedgerError, error_of
from creditledger.domain.events import Event
from creditledger.domain.receipt import ACCEPTED, Batch, Receipt, Wish, told_and_asked
from creditledger.domain.rules import RULES
from creditledger.domain.store import LedgerStore

#: What one wish was told: a receipt, or an error that is not remembered.
Told = Receipt | LedgerError


@dataclass(slots=True)
class Case:
    """One wish or batch, and what was decided on it so far."""

    item: Wish | Batch
    events: list[Event] = field(default_factory=list)
    #: What each wish was told, and the events up to then; none for a first answer again.
    told: list[tuple[Told, int | None]] = field(default_factory=list)
    #: The receipts to save, each with the number of events of the case up to its own.
    receipts: list[tuple[Receipt, int]] = field(default_factory=list)
    #: Streams looked at, and receipts: what ties the case to others.
    touched: set[UUID] = field(default_factory=set)
    #: The batch's own receipt, and whether it is a first answer again.
    own: tuple[Told, int | None] | None = None

    @property
    def open(self) -> bool:
        """Whether it is still to be decided."""
        return not self.told and self.own is None

    def wishes(self) -> Sequence[Wish]:
        """Its wishes: one, or a batch's."""
        return self.item.wishes if isinstance(self.item, Batch) else (self.item,)

    def keys(self) -> set[UUID]:
        """The receipts that it may leave."""
        keys = {wish.receipt_id for wish in self.wishes()} | {self.item.receipt_id}
        return {key for key in keys if key is not None}

    def clear(self) -> None:
        """Begin again, as if nothing had been decided."""
        self.events, self.told, self.receipts = [], [], []
        self.touched, self.own = set(), None


def number_of(told: Told, case: Case) -> int | None:
    """How many events of the case stand up to what was told just now; none for a first answer."""
    replayed = isinstance(told, Receipt) and told.replayed
    return None if replayed else len(case.events)


def first_affected(cases: Sequence[Case], changed: Collection[UUID]) -> int:
    """The first case that changes of these streams and receipts affect; their number if none.

    What it and those after it looked at is affected, too, and so may be cases before it.
    """
    tainted, first = set(changed), len(cases)
    while True:
        reached = next((n for n in range(first) if cases[n].touched & tainted), first)
        if reached == first:
            return first
        first = reached
        tainted.update(*(case.touched for case in cases[first:]))


def forecast(cases: Iterable[Case]) -> set[UUID]:
    """The streams that the cases will look at, as far as their commands tell."""
    return {
        stream
        for case in cases
        for wish in case.wishes()
        for stream in RULES[type(wish.command)].streams(wish.command)
    }


def grants_ahead(cases: Iterable[Case], books: Books) -> set[str]:
    """The grants that the cases will look at, as far as what `forecast` found tells."""
    found: set[str] = set()
    for case in cases:
        for wish in case.wishes():
            grants = RULES[type(wish.command)].grants
            if grants is not None:
                found.update(grants(wish.command, books))
    return found


def keys_of(cases: Iterable[Case]) -> set[UUID]:
    """The receipts that the cases may leave."""
    return set().union(*(case.keys() for case in cases))


def refusal_of(index: int, wish: Wish, told: Told) -> BatchRefused | None:
    """Why a batch of all or nothing comes to nothing, where it does.

    Its values are those of the refused command, and where that stands in the batch.
    """
    if isinstance(told, LedgerError):
        code, values = told.code, {"detail": told.message, **told.values}
    elif told.outcome != ACCEPTED:
        code, (values, _) = told.outcome, told_and_asked(told.answer)
    else:
        return None
    reason = values.pop("detail")
    if "field" in values:
        values["field"] = f"commands[{index}].{values['field']}"
    if wish.key is not None:
        values["idempotency_key"] = wish.key
    return BatchRefused(**{**values, "index": index, "refused_code": code, "reason": reason})


def brief_of(told: Told) -> dict[str, Any]:
    """How a batch's receipt remembers what one of its commands was told."""
    if isinstance(told, LedgerError):
        return {"code": told.code, "values": told.values}
    return {"receipt_id": told.public_id, "replayed": told.replayed}


def remembered(own: Receipt, store: LedgerStore) -> list[Told]:
    """What the commands of a batch were told, from its receipt and their own ones."""
    briefs = own.answer.get("results", ())
    receipt_ids = [
        ids.parse_stream_id(ids.RECEIPT, brief["receipt_id"])
        for brief in briefs
        if "receipt_id" in brief
    ]
    found = store.receipts([rid for rid in receipt_ids if rid is not None])
    by_public_id = {receipt.public_id: receipt for receipt in found.values()}
    return [
        replace(by_public_id[brief["receipt_id"]], replayed=brief["replayed"])
        if "receipt_id" in brief
        else error_of(brief["code"], brief["values"])
        for brief in briefs
    ]
