"""Read models of what providers told, fed from a story in memory and asked as the API asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from psycopg import AsyncConnection, sql

from creditledger.infra.database import connect
from creditledger.projections.links import Links
from creditledger.projections.payments import Payments, payments
from creditledger.projections.prices import Prices
from creditledger.projections.projection import Projection
from creditledger.projections.subscriptions import Subscriptions
from purchase_story import Story

T = TypeVar("T")


class Reader:
    """Read models of a story, and questions to them."""

    def __init__(self, url: str, batch: int) -> None:
        self._url = url
        self._batch = batch

    def show(self, story: Story) -> None:
        """Have the read models handle all events of a story, and of none other before."""
        projections: list[Projection] = [Payments(), Subscriptions(), Prices(), Links()]
        recorded = list(enumerate(story.store.log, start=1))
        with connect(self._url, "tests") as connection:
            for projection in projections:
                for table in projection.tables:
                    connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(table)))
            for start in range(0, len(recorded), self._batch):
                for projection in projections:
                    events = projection.concerning(recorded[start : start + self._batch])
                    if events:
                        with connection.transaction(), connection.cursor() as cursor:
                            projection.handle(cursor, events)

    def ask(self, question: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """The answer of a query."""

        async def asked() -> T:
            async with await AsyncConnection.connect(self._url) as connection:
                return await question(connection)

        return asyncio.run(asked())

    def payments(self, **filters: Any) -> list[dict[str, Any]]:
        """All payments that fit."""
        page = self.ask(lambda c: payments(c, limit=50, **filters))
        return list(page["payments"])

    def the_payment(self) -> dict[str, Any]:
        """The only payment."""
        [found] = self.payments()
        return found
