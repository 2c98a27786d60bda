"""Decisions: what becomes of commands, one after the other, on the books.

Nothing is saved here; what was decided stands in the cases, and on the aggregates at hand, until
the ledger has saved it or starts over (domain/README.md, 9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from creditledger.domain import answers
from creditledger.domain.books import TIME, Books
from creditledger.domain.case import Case, Told, brief_of, number_of, refusal_of
from creditledger.domain.errors import BatchRefused, KeyReused, LedgerError, Refused
from creditledger.domain.events import Context
from creditledger.domain.receipt import ACCEPTED, Batch, Receipt, Wish
from creditledger.domain.recent import RecentReceipts
from creditledger.domain.rules import RULES, refuse_misfit
from creditledger.domain.store import LedgerStore

_NIL: Final = UUID(int=0)


class Decisions:
    """Decides the commands of one run after the other. For one thread only.

    `now` is the clock, aware and in UTC.
    """

    def __init__(self, store: LedgerStore, books: Books, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._books = books
        self._now = now
        #: Receipts of this run, decided or found in the store, and those of runs before it.
        self._first: dict[UUID, Receipt] = {}
        self._recent = RecentReceipts()

    def begin(self) -> None:
        """Begin with a run: nothing is decided yet."""
        self._first = {}

    def saved(self) -> None:
        """All that was decided in this run is saved."""
        self._recent.update(self._first)

    def let_go(self) -> None:
        """Have no receipt of runs before this one at hand any more."""
        self._recent = RecentReceipts()

    def start_over(self, cases: Iterable[Case], found: Mapping[UUID, Receipt]) -> None:
        """Forget what was decided on these; receipts of their keys were `found` in the store."""
        for case in cases:
            for receipt, _ in case.receipts:
                self._first.pop(receipt.id, None)
            case.clear()
        self._first.update(found)

    def first_receipt(self, receipt_id: UUID) -> Receipt | None:
        """The receipt of a key that was used before, or in this run."""
        return self._first.get(receipt_id) or self._recent.get(receipt_id)

    def decide(self, cases: Iterable[Case]) -> None:
        """Decide these in order. A fault is raised as it is; Unavailable where a look failed."""
        for case in cases:
            if case.item.dry_run:
                self._look_up(case.keys())
            if isinstance(case.item, Batch):
                self._decide_batch(case.item, case)
            else:
                case.told.append(self._decide_wish(case.item, case))

    def _decide_wish(self, wish: Wish, case: Case) -> tuple[Told, int | None]:
        first = self._first_answer(wish, case)
        if first is not None:
            return first, None
        if wish.dry_run:
            self._books.try_out()
        told = self._try(wish, case)
        if wish.dry_run:
            self._books.undo()
            case.events = []
        return told, number_of(told, case)

    def _decide_batch(self, batch: Batch, case: Case) -> None:
        first = self._first_answer(batch, case)
        if first is not None:
            case.own = first, None
            return
        refusal = self._try_batch(batch, case)
        if refusal is not None and self._look_up(case.keys()):
            case.told = []
            refusal = self._try_batch(batch, case)
        self._close_batch(batch, case, refusal)

    def _try_batch(self, batch: Batch, case: Case) -> BatchRefused | None:
        """Decide the commands of a batch; return why all of it came to nothing, if it did."""
        tried_out = batch.all_or_nothing or batch.dry_run
        if tried_out:
            self._books.try_out()
        refusal = None
        for index, wish in enumerate(batch.wishes):
            told = self._first_answer(wish, case)
            number = None
            if told is None:
                told = self._try(wish, case)
                number = number_of(told, case)
            case.told.append((told, number))
            refusal = refusal_of(index, wish, told) if batch.all_or_nothing else None
            if refusal is not None:
                break
        if tried_out and (refusal is not None or batch.dry_run):
            self._undo(case)
        self._books.settle_trial()
        return refusal

    def _undo(self, case: Case) -> None:
        self._books.undo()
        for receipt, _ in case.receipts:
            self._first.pop(receipt.id, None)
        case.events, case.receipts = [], []
        case.told = [(told, None if number is None else 0) for told, number in case.told]

    def _close_batch(self, batch: Batch, case: Case, refusal: BatchRefused | None) -> None:
        answer: dict[str, Any] = {"results": [brief_of(told) for told, _ in case.told]}
        outcome = ACCEPTED
        if refusal is not None:
            outcome, answer = refusal.code, {"detail": refusal.message, **refusal.values}
        receipt = Receipt(
            id=batch.receipt_id or _NIL,
            client_id=batch.client_id,
            key=batch.key or "",
            fingerprint=batch.fingerprint,
            command="batch",
            customer_id=None,
            asset=None,
            outcome=outcome,
            answer=answer,
            recorded_at=self._now(),
        )
        self._keep(receipt, case)
        case.own = receipt, len(case.events)

    def _first_answer(self, item: Wish | Batch, case: Case) -> Told | None:
        """What the key was told before, where it was used before."""
        receipt_id = item.receipt_id
        if receipt_id is None:
            return None
        case.touched.add(receipt_id)
        batch = case.item
        if item is not batch and (item.key, item.client_id) == (batch.key, batch.client_id):
            # The batch itself will leave its receipt there.
            return KeyReused(idempotency_key=item.key)
        first = self.first_receipt(receipt_id)
        if first is None:
            return None
        if first.fingerprint != item.fingerprint:
            return KeyReused(idempotency_key=item.key)
        return first.as_replay()

    def _look_up(self, keys: Iterable[UUID | None]) -> bool:
        """Look for receipts that are not at hand; whether there are any.

        For what saves none that could collide with a key's first one: dry runs, refused batches
        of all or nothing, and what is refused but not remembered.
        """
        unknown = {key for key in keys if key is not None and self.first_receipt(key) is None}
        found = self._store.receipts(unknown) if unknown else {}
        self._first.update(found)
        return bool(found)

    def _try(self, wish: Wish, case: Case) -> Told:
        command, books = wish.command, self._books
        now = self._now()
        receipt_id = wish.receipt_id or _NIL
        cause = wish.cause
        correlation = wish.correlation_id or cause
        context = Context(wish.actor, cause, correlation, command.happened_at, command.metadata)
        books.turn(now, context, case.touched)
        answer: dict[str, Any]
        try:
            refuse_misfit(command, now, books)
            answer, outcome = RULES[type(command)].decide(command, books), ACCEPTED
        except Refused as refusal:
            self._assert_only_due(refusal)
            answer, outcome = {"detail": refusal.message, **refusal.values}, refusal.code
            answer["asked"] = answers.asked(command, books.subject)
        except LedgerError as error:
            self._assert_only_due(error)
            self._collect(case)
            self._look_up([wish.receipt_id])
            return self._first_answer(wish, case) or error
        self._collect(case)
        subject = books.subject
        receipt = Receipt(
            id=receipt_id,
            client_id=wish.client_id,
            key=wish.key or "",
            fingerprint=wish.fingerprint,
            command=command.NAME,
            customer_id=None if subject is None else subject.customer_id,
            asset=None if subject is None else subject.asset,
            outcome=outcome,
            answer=answer,
            recorded_at=now,
            public_id=wish.receipt_public_id,
        )
        self._keep(receipt, case)
        return receipt

    def _keep(self, receipt: Receipt, case: Case) -> None:
        if receipt.id is _NIL or case.item.dry_run:
            return
        case.receipts.append((receipt, len(case.events)))
        self._first[receipt.id] = receipt

    def _collect(self, case: Case) -> None:
        books = self._books
        case.events.extend(books.pending)
        books.remember(books.pending)

    def _assert_only_due(self, refusal: LedgerError) -> None:
        """A decision refuses before it records: only what time did may stand."""
        if any(event.context is not TIME for event in self._books.pending):
            raise AssertionError("a decision recorded events and then refused") from refusal
