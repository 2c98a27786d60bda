"""Where deliveries wait until they are durable: those that arrive together are kept together.

One commit, or one request to the brokers, serves all that arrived while the one before it was
under way. Nobody is told that a delivery is kept before it is, and what cannot be kept is soon
told so, with all that waits behind it: the provider holds it until it tries again, we do not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from creditledger.domain.store import Unavailable
from creditledger.infra.delivery import Delivery

#: Deliveries that are kept at once: past some hundred, more of them only make the first ones wait.
KEPT_AT_ONCE: Final = 500

#: What may wait in memory, in bytes of bodies: a burst of ordinary ones, or some of the largest.
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024

#: How long a provider waits for its answer: Polar gives up after ten seconds.
ANSWER_SECONDS_MAX: Final = 5.0


class Put(Protocol):
    """A stream's `put`."""

    def __call__(self, *deliveries: Delivery) -> None:
        """Keep deliveries, durably when this returns."""


_Waiting = tuple[Delivery, asyncio.Future[None]]


class Intake:
    """For one event loop, until `close`.

    `put` runs in a thread of its own, so that slow queries keep no provider waiting.
    """

    def __init__(
        self,
        put: Put,
        *,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        self._put = put
        self._waiting_bytes_max = waiting_bytes_max
        self._answer_seconds_max = answer_seconds_max
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "intake")

    def close(self) -> None:
        """Keep nothing more; what is under way is finished."""
        self._thread.shutdown(wait=False)

    async def keep(self, delivery: Delivery) -> None:
        """Return when the delivery is durable.

        Raises Unavailable where it is not, as far as is known, and whatever else `put` raises for
        this delivery.
        """
        if self._bytes + len(delivery.body) > self._waiting_bytes_max:
            raise Unavailable("too many deliveries wait to be kept")
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[None] = loop.create_future()
        self._waiting.append((delivery, kept))
        self._bytes += len(delivery.body)
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        try:
            async with asyncio.timeout(self._answer_seconds_max):
                await kept
        except TimeoutError:
            raise Unavailable("the delivery was not kept in time") from None
        finally:
            self._bytes -= len(delivery.body)
            # Its error holds this frame: without the way back, the body goes with the answer.
            del kept

    async def _write(self) -> None:
        try:
            while self._waiting:
                # Whoever waited for too long has been told so.
                if batch := _unanswered(self._next()):
                    await self._keep_all(batch)
        finally:
            self._writing = None

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < KEPT_AT_ONCE:
            delivery, kept = self._waiting.popleft()
            batch.append((delivery, kept))
        return batch

    async def _keep_all(self, batch: Sequence[_Waiting]) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._put, *(one for one, _ in batch))
        except Unavailable as error:
            # Nobody queues up for what cannot be reached.
            for _, kept in _unanswered([*batch, *self._waiting]):
                kept.set_exception(Unavailable(*error.args))
            self._waiting.clear()
        except Exception as error:  # noqa: BLE001 - one that cannot be kept must not hinder others
            if len(batch) > 1:
                for one in batch:
                    await self._keep_all([one])
            for _, kept in _unanswered(batch):
                kept.set_exception(error)
        else:
            for _, kept in _unanswered(batch):
                kept.set_result(None)


def _unanswered(waiting: Sequence[_Waiting]) -> list[_Waiting]:
    return [one for one in waiting if not one[1].done()]
