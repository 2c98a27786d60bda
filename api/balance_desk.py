"""The balance desk: balances that are asked for together are read with one query.

A query costs the server more to plan than to run, and its way there and back more than either; so
whoever asks while one is out goes with the next, as commands share a commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from creditledger.infra.database import AsyncPool
from creditledger.projections.balances import Asked, accounts_of, balances_answer

#: Queries that are out at once: while one is read, the other's answers are written.
_QUERIES_MAX: Final = 2

#: Balances in one query: enough that its own cost vanishes, few enough to be through at once.
_TOGETHER_MAX: Final = 100


class BalanceDesk:
    """One process's way to the balances as the read model has them. For one event loop."""

    def __init__(self, reads: AsyncPool, now: Callable[[], datetime]) -> None:
        self._reads = reads
        self._now = now
        self._waiting: list[tuple[Asked, asyncio.Future[dict[str, Any]]]] = []
        self._queries: set[asyncio.Task[None]] = set()

    async def balances(self, customer_id: str, asset: str | None) -> dict[str, Any]:
        """A customer's balances now, of one asset or of all.

        Raises what psycopg and its pool raise where the database does not answer.
        """
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((Asked(customer_id, asset), reply))
        if len(self._queries) < _QUERIES_MAX:
            query = asyncio.create_task(self._answer_all())
            self._queries.add(query)
            query.add_done_callback(self._queries.discard)
        return await reply

    async def _answer_all(self) -> None:
        while self._waiting:
            some = self._waiting[:_TOGETHER_MAX]
            del self._waiting[:_TOGETHER_MAX]
            await self._answer(some)

    async def _answer(
        self, waiting: Sequence[tuple[Asked, asyncio.Future[dict[str, Any]]]]
    ) -> None:
        try:
            async with self._reads.connection() as connection:
                position, found = await accounts_of(connection, {asked for asked, _ in waiting})
        except Exception as trouble:  # noqa: BLE001 - it is told to whoever waits
            for _, reply in waiting:
                if not reply.done():
                    reply.set_exception(trouble)
            return
        now = self._now()
        for asked, reply in waiting:
            # Whoever went away is told nothing more.
            if reply.done():
                continue
            try:
                answer = balances_answer(asked.customer_id, found[asked], now, asset=asked.asset)
            except Exception as fault:  # noqa: BLE001 - one customer's must not reach the others
                reply.set_exception(fault)
            else:
                reply.set_result({**answer, "position": position})
