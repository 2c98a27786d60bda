"""The ledger: the one door through which anything changes.

Commands that arrive together are decided together, in order, and saved with their receipts in one
transaction. What comes before all that somebody else's write affects is never decided twice, and
nothing is told before it is saved (domain/README.md, 9).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from creditledger.domain import answers
from creditledger.domain.books import TIME, Books
from creditledger.domain.case import (
    Case,
    Told,
    brief_of,
    forecast,
    grants_ahead,
    keys_of,
    number_of,
    refusal_of,
    remembered,
)
from creditledger.domain.errors import (
    BatchRefused,
    Failed,
    KeyReused,
    LedgerError,
    Refused,
)
from creditledger.domain.events import Context, Event
from creditledger.domain.policies import Policies
from creditledger.domain.receipt import ACCEPTED, Batch, BatchReceipt, Outcome, Receipt, Wish
from creditledger.domain.recent import RecentReceipts
from creditledger.domain.rules import RULES, refuse_misfit
from creditledger.domain.store import Conflict, LedgerStore, Unavailable
from creditledger.domain.turns import Turns

#: Attempts to save a batch: more than this means that something is wrong.
ATTEMPTS_MAX: Final = 10

_NIL: Final = UUID(int=0)


class Ledger:
    """Decides commands and saves what follows. For one thread only.

    `now` is the clock, aware and in UTC; `cache_limit` how many aggregates are kept at hand.
    """

    def __init__(
        self,
        store: LedgerStore,
        *,
        now: Callable[[], datetime],
        policies: Policies | None = None,
        cache_limit: int = 50_000,
    ) -> None:
        self._store = store
        self._now = now
        self._books = Books(store, policies or Policies(), cache_limit=cache_limit)
        self._recent = RecentReceipts()
        self._turns = Turns(store, self._books)
        #: Receipts of this run, decided or found in the store.
        self._first: dict[UUID, Receipt] = {}

    def ready(self, ahead: Sequence[Wish | Batch] = ()) -> AbstractContextManager[None]:
        """Where others write, too, wait for this ledger's turn, and learn what they wrote.

        Nobody else saves anything until `handle` has saved, or the block ends: commands that are
        collected in it go with that save, also those that came while others had their turns. What
        those `ahead` need is loaded before. Raises Unavailable where it does not come to a turn.
        """
        return self._turns.ready(lambda: forecast(Case(item) for item in ahead))

    def have_at_hand(self, accounts: Collection[UUID]) -> None:
        """Load accounts before there are commands about them. Raises Unavailable."""
        with self._turns.ready():
            # From here on news is learned, also of what is loaded now.
            pass
        self._books.have(accounts)

    def handle(self, items: Sequence[Wish | Batch]) -> list[Outcome]:
        """Decide these in order, save it all at once, and return what each is told.

        Raises Unavailable where nothing can be saved, or it is not known whether it was: then the
        same keys, sent again, find out. A fault on one item is told to it alone, as `Failed`.
        """
        try:
            with self._turns.ready():
                return self._run(items)
        except (Conflict, Unavailable):
            raise
        except Exception as fault:  # noqa: BLE001 - one item's fault must not reach the others
            if len(items) > 1:
                return [self.handle([item])[0] for item in items]
            failed = Failed()
            failed.__cause__ = fault
            return [failed]

    def _run(self, items: Sequence[Wish | Batch]) -> list[Outcome]:
        cases = [Case(item) for item in items]
        self._first = {}
        try:
            self._books.begin(forecast(cases))
            self._books.foresee(grants_ahead(cases, self._books))
            base = self._settle(cases)
        except BaseException:
            # What was decided is not saved, so the accounts at hand must not show it.
            self._books.abandon()
            raise
        return self._tell(cases, base)

    def _settle(self, cases: Sequence[Case]) -> int:
        """Decide and save, until it is saved; return the log's newest position before it."""
        open_cases: Iterable[Case] = cases
        for _ in range(ATTEMPTS_MAX):
            if not self._decide_all(open_cases):
                open_cases = self._unknown(cases)
                continue
            try:
                return self._save(cases)
            except Conflict:
                open_cases = self._contested(cases)
            except Unavailable:
                self._turns.end()
                open_cases = self._unknown(cases)
        raise Unavailable(f"nothing could be saved in {ATTEMPTS_MAX} attempts")

    # Deciding.

    def _decide_all(self, cases: Iterable[Case]) -> bool:
        """False where it failed on accounts that somebody else has changed meanwhile.

        What is at hand may be older than what is loaded beside it: a payment's grant, for example,
        may not be on the account yet. Where nothing was changed, the fault is raised.
        """
        try:
            for case in cases:
                if isinstance(case.item, Batch):
                    self._decide_batch(case.item, case)
                else:
                    case.told.append(self._decide_wish(case.item, case))
        except Unavailable:
            raise
        except Exception:
            if not self._store.changed(self._books.versions):
                raise
            return False
        return True

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
        if refusal is not None and self._find_used_keys(batch):
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

    def _find_used_keys(self, batch: Batch) -> bool:
        """Whether keys of the batch were used that were not at hand.

        A refused batch saves no receipts but its own, so a used key would not show as a conflict.
        """
        keys = {wish.receipt_id for wish in batch.wishes if wish.receipt_id is not None}
        unknown = {key for key in keys - self._first.keys() if self._recent.get(key) is None}
        found = self._store.receipts(unknown) if unknown else {}
        self._first.update(found)
        return bool(found)

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
        first = self._first.get(receipt_id) or self._recent.get(receipt_id)
        if first is None:
            return None
        if first.fingerprint != item.fingerprint:
            return KeyReused(idempotency_key=item.key)
        return first.as_replay()

    def _first_answer_kept(self, wish: Wish, case: Case) -> Told | None:
        """What the key was told before, by a look in the store."""
        if wish.receipt_id is not None:
            self._first.update(self._store.receipts([wish.receipt_id]))
        return self._first_answer(wish, case)

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
            # No receipt is saved for it, so none could collide with the key's first one.
            return self._first_answer_kept(wish, case) or error
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

    # Saving.

    def _save(self, cases: Sequence[Case]) -> int:
        events: list[Event] = []
        receipts: list[tuple[Receipt, int]] = []
        for case in cases:
            receipts += [(receipt, len(events) + number) for receipt, number in case.receipts]
            events += case.events
        self._turns.used()
        base = self._store.append(events, receipts, self._books.expectations(events))
        self._turns.saved(base, len(events))
        return base

    def _contested(self, cases: Sequence[Case]) -> Sequence[Case]:
        """Somebody was first: start the first case over that is affected, and all after it, which
        may rest on it, on fresh state, while nobody else can be first again."""
        news = self._turns.take()
        found = self._store.receipts(keys_of(cases))
        tainted = self._store.changed(self._books.versions) | set(found)
        first = len(cases)
        while True:
            # What those before it have decided must not be forgotten with what these have.
            reached = next((n for n in range(first) if cases[n].touched & tainted), first)
            if reached == first:
                break
            first = reached
            tainted.update(*(case.touched for case in cases[first:]))
        if news.changed is None or first == len(cases):
            first = 0
        again = self._start_over(cases[first:], found)
        self._turns.learn(news)
        self._books.fetch(forecast(again))
        return again

    def _unknown(self, cases: Sequence[Case]) -> Sequence[Case]:
        """The commit may have happened: look the keys up before anything is decided again."""
        self._books.forget(list(self._books.versions))
        return self._start_over(cases, self._store.receipts(keys_of(cases)))

    def _start_over(self, cases: Sequence[Case], found: Any) -> Sequence[Case]:
        for case in cases:
            self._books.forget(case.touched)
            for receipt, _ in case.receipts:
                self._first.pop(receipt.id, None)
            case.clear()
        self._first.update(found)
        return cases

    # Telling.

    def _tell(self, cases: Sequence[Case], base: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        before = base
        for case in cases:
            told = [self._final(told, number, base) for told, number in case.told]
            own = None if case.own is None else self._final(*case.own, base)
            base += len(case.events)
            if own is None:
                outcomes.append(told[0])
            elif isinstance(own, LedgerError):
                outcomes.append(own)
            else:
                results = remembered(own, self._store) if own.replayed else told
                outcomes.append(BatchReceipt(receipt=own, results=results))
        self._recent.update(self._first)
        snapshots = self._books.due_snapshots(base - before)
        if snapshots:
            # Whatever goes wrong with them, what they are about is saved.
            with suppress(Exception):
                self._store.save_snapshots(snapshots)
        self._books.shrink()
        return outcomes

    def _final(self, told: Told, number: int | None, base: int) -> Told:
        if isinstance(told, LedgerError):
            return told
        if number is None:
            first = self._first.get(told.id) or self._recent.get(told.id) or told
            return first.as_replay()
        told.settle(base + number)
        return told
