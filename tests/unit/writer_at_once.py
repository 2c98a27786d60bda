"""A writer of the ledger without a queue."""

from __future__ import annotations

from concurrent.futures import Future

from creditledger.domain.ledger import Ledger
from creditledger.domain.receipt import Batch, Outcome, Wish


class AtOnce:
    """A writer that decides at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def submit(self, item: Wish | Batch) -> Future[Outcome]:
        answer: Future[Outcome] = Future()
        answer.set_result(self._ledger.handle([item])[0])
        return answer
