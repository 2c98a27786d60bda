"""What a provider's API is asked while deliveries are booked, beside the worker, not in its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Final, Self

from creditledger.domain.provider_commands import PurchaseLine

#: Questions that are asked at the same time: an API has limits of its own.
_THREADS: Final = 8

#: Questions and answers that are remembered; past that, deliveries wait for their turn.
_REMEMBERED_MAX: Final = 1_000

#: How long after a question a delivery is tried again.
LOOK_UP_SECONDS: Final = 0.5

#: The lines of a Checkout Session or invoice, from the provider's API.
LineItems = Callable[[str], Sequence[PurchaseLine]]


class LookingUp(Exception):
    """The answer is not there yet: ask again a little later."""


class LookUps:
    """Asks in threads of its own: an API that is slow holds up nothing but who asks for it.

    For many threads, from construction to `close`.
    """

    def __init__(self, line_items: LineItems) -> None:
        self._line_items = line_items
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="look-up")
        self._asked: dict[str, Future[Sequence[PurchaseLine]]] = {}
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def line_items(self, object_id: str) -> Sequence[PurchaseLine]:
        """The lines, or whatever error the API answered with. Raises LookingUp until then."""
        with self._lock:
            answer = self._asked.get(object_id)
            if answer is None:
                self._ask(object_id)
                raise LookingUp
            if not answer.done():
                raise LookingUp
            del self._asked[object_id]
        return answer.result()

    def close(self) -> None:
        """Ask nothing more; what is being asked is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, object_id: str) -> None:
        if len(self._asked) >= _REMEMBERED_MAX:
            # Answers that nobody came back for: another worker asked for itself.
            self._asked = {key: answer for key, answer in self._asked.items() if not answer.done()}
        if len(self._asked) < _REMEMBERED_MAX:
            self._asked[object_id] = self._threads.submit(self._line_items, object_id)
