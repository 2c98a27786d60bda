"""How many deliveries wait on the stream, told soon even where the stream does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from creditledger.domain.store import Unavailable

#: How long whoever asks is kept waiting: probes give up after a second.
ANSWER_SECONDS_MAX: Final = 0.5

#: How long what was seen last may stand for what is not seen yet: longer than probes are apart, so
#: that brokers far away, who take their time, are not told as silent. That one has gone is known
#: much sooner, when the look that misses it ends.
SEEN_SECONDS_MAX: Final = 15.0


@dataclass(frozen=True, slots=True)
class Seen:
    """How many deliveries wait, or None and what the trouble is."""

    waiting: int | None
    trouble: str | None = None


class StreamDesk:
    """One process's look at the stream. For one event loop.

    There is one look at a time, however many ask. It goes on behind an answer that did not wait
    for it, so that the next one has what it found.
    """

    def __init__(self, waiting: Callable[[], int], clock: Callable[[], float] = monotonic) -> None:
        self._waiting = waiting
        self._clock = clock
        self._look: asyncio.Task[Seen] | None = None
        self._last: tuple[float, Seen] | None = None

    async def seen(self) -> Seen:
        """What is seen now, or was just before where that takes too long."""
        look = self._look
        if look is None:
            look = self._look = asyncio.create_task(self._see())
        done, _ = await asyncio.wait([look], timeout=ANSWER_SECONDS_MAX)
        if done:
            return look.result()
        if self._last is not None:
            at, seen = self._last
            if self._clock() - at <= SEEN_SECONDS_MAX:
                return seen
        return Seen(None, f"the stream has not answered for {ANSWER_SECONDS_MAX} s")

    async def _see(self) -> Seen:
        try:
            seen = Seen(await asyncio.to_thread(self._waiting))
        except Unavailable as error:
            seen = Seen(None, str(error).strip().splitlines()[0])
        finally:
            self._look = None
        self._last = self._clock(), seen
        return seen
