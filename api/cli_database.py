"""How commands reach the database: migrated, and started for the moment where it has to be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from creditledger.infra.database import connect, conninfo
from creditledger.infra.settings import Settings, load_settings
from creditledger.infra.wiring import database, require_data, require_migrated

T = TypeVar("T")

_NAME = "creditledger command"


@contextmanager
def migrated_database(settings: Settings | None = None) -> Iterator[str]:
    """The address of the database, which has this version's tables; nothing is made for it."""
    settings = settings or load_settings()
    require_data(settings)
    with database(settings) as url:
        require_migrated(url)
        yield url


@contextmanager
def database_connection(settings: Settings | None = None) -> Iterator[Connection[TupleRow]]:
    """A connection to it."""
    with migrated_database(settings) as url, connect(url, _NAME) as connection:
        yield connection


def ask(question: Callable[[AsyncConnection[TupleRow]], Awaitable[T]]) -> T:
    """What a query says that is written for the API's event loop."""

    async def asked(url: str) -> T:
        async with await AsyncConnection.connect(conninfo(url, _NAME), autocommit=True) as found:
            return await question(found)

    with migrated_database() as url:
        return asyncio.run(asked(url))
