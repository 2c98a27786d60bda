"""The ledger: the one door through which anything changes.

Commands that arrive together are decided together, in order, and saved with their receipts in one
transaction. What comes before all that somebody else's write affects is never decided twice, and
nothing is told before it is saved (domain/README.md, 9).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from typing import Final
from uuid import UUID

from creditledger.domain.books import Books
from creditledger.domain.case import (
    Case,
    Told,
    first_affected,
    forecast,
    grants_ahead,
    keys_of,
    remembered,
)
from creditledger.domain.decisions import Decisions
from creditledger.domain.errors import Failed, LedgerError
from creditledger.domain.events import Event
from creditledger.domain.policies import Policies
from creditledger.domain.receipt import Batch, BatchReceipt, Outcome, Receipt, Wish
from creditledger.domain.store import Conflict, LedgerStore, Unavailable
from creditledger.domain.turns import Turns

#: Attempts to save a batch: more than this means that something is wrong.
ATTEMPTS_MAX: Final = 10


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
        self._books = Books(store, policies or Policies(), cache_limit=cache_limit)
        self._decisions = Decisions(store, self._books, now=now)
        self._turns = Turns(store, self._books, let_go=self._let_go)

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
        self._decisions.begin()
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
        for _ in range(ATTEMPTS_MAX):
            if not self._decide(cases):
                self._start_unknown_over(cases)
                continue
            try:
                return self._save(cases)
            except Conflict:
                self._start_contested_over(cases)
            except Unavailable:
                self._turns.end()
                self._start_unknown_over(cases)
        raise Unavailable(f"nothing could be saved in {ATTEMPTS_MAX} attempts")

    def _decide(self, cases: Sequence[Case]) -> bool:
        """False where it failed on accounts that somebody else has changed meanwhile.

        What is at hand may be older than what is loaded beside it: a payment's grant, for example,
        may not be on the account yet. Where nothing was changed, the fault is raised.
        """
        try:
            self._decisions.decide(case for case in cases if case.open)
        except Unavailable:
            raise
        except Exception:
            if not self._store.changed(self._books.versions):
                raise
            return False
        return True

    # Saving.

    def _save(self, cases: Sequence[Case]) -> int:
        events: list[Event] = []
        receipts: list[tuple[Receipt, int]] = []
        for case in cases:
            receipts += [(receipt, len(events) + number) for receipt, number in case.receipts]
            events += case.events
        self._turns.used()
        base = self._store.append(
            events, receipts, self._books.expectations(events), self._turns.seen
        )
        self._turns.saved(base, events)
        return base

    def _start_contested_over(self, cases: Sequence[Case]) -> None:
        """Somebody was first: start the first case over that is affected, and all after it, which
        may rest on it, on fresh state, while nobody else can be first again."""
        news = self._turns.take()
        found = self._store.receipts(keys_of(cases))
        first = first_affected(cases, self._store.changed(self._books.versions) | set(found))
        if news.changed is None or first == len(cases):
            first = 0
        again = cases[first:]
        self._start_over(again, found)
        self._turns.learn(news)
        self._books.fetch(forecast(again))

    def _start_unknown_over(self, cases: Sequence[Case]) -> None:
        """The commit may have happened: look the keys up before anything is decided again."""
        self._books.forget(self._books.versions)
        self._start_over(cases, self._store.receipts(keys_of(cases)))

    def _start_over(self, cases: Sequence[Case], found: Mapping[UUID, Receipt]) -> None:
        self._books.forget(set().union(*(case.touched for case in cases)))
        self._decisions.start_over(cases, found)

    def _let_go(self) -> None:
        self._books.let_go()
        self._decisions.let_go()

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
        self._decisions.saved()
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
            return (self._decisions.first_receipt(told.id) or told).as_replay()
        told.settle(base + number)
        return told
