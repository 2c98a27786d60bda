"""Connections to PostgreSQL.

Tables have no schema in their names: they live in the first schema of the connection's
`search_path`, so an address that ends with `?options=-csearch_path%3Dledger_2` names a ledger of
its own in the same database.

Every session is in UTC, whatever the server's time zone is: in one that is ahead, the last hours
of the year 9999 belong to a year that Python does not know.
"""

from __future__ import annotations

import os
import select
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, ConnectionPool

#: How long to wait for a server that does not answer, before the caller is told so.
CONNECT_TIMEOUT_SECONDS = 3

#: How long a caller waits for a connection of the pool: past it, the service is `unavailable`.
POOL_TIMEOUT_SECONDS = 3.0

#: After this long the pool stops trying by itself and tries again on the next request, at once:
#: its own waits would double until a database that is back was not noticed for a minute.
RECONNECT_TIMEOUT_SECONDS = 5.0

Pool = ConnectionPool[Connection[TupleRow]]
AsyncPool = AsyncConnectionPool[AsyncConnection[TupleRow]]


def conninfo(url: str, application_name: str) -> str:
    """The address, for sessions in UTC.

    Time limits are short, unless it sets its own: a dead server is noticed soon.
    """
    defaults: dict[str, Any] = {
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
    said = conninfo_to_dict(url)
    options = said.get("options") or os.environ.get("PGOPTIONS", "")
    utc = {"options": f"{options} -ctimezone=UTC".lstrip()}
    return make_conninfo("", **(defaults | said | utc))


def connect(url: str, application_name: str) -> Connection[TupleRow]:
    """One connection, each statement a transaction of its own unless one is opened."""
    return Connection.connect(conninfo(url, application_name), autocommit=True)


def connection_pool(url: str, application_name: str, *, size: int) -> Pool:
    """A pool for threads, not yet opened. Connections are looked at before they are handed out."""
    return ConnectionPool(
        conninfo(url, application_name),
        kwargs={"autocommit": True},
        min_size=1,
        max_size=size,
        open=False,
        check=check_if_spoken_to,
        timeout=POOL_TIMEOUT_SECONDS,
        reconnect_timeout=RECONNECT_TIMEOUT_SECONDS,
        name=application_name,
    )


def async_connection_pool(url: str, application_name: str, *, size: int) -> AsyncPool:
    """A pool for one event loop, to be opened in it. Otherwise as `connection_pool`."""
    return AsyncConnectionPool(
        conninfo(url, application_name),
        kwargs={"autocommit": True},
        min_size=1,
        max_size=size,
        open=False,
        check=check_async_if_spoken_to,
        timeout=POOL_TIMEOUT_SECONDS,
        reconnect_timeout=RECONNECT_TIMEOUT_SECONDS,
        name=application_name,
    )


def check_if_spoken_to(connection: Connection[TupleRow]) -> None:
    """Raise OperationalError where the server has gone while the connection was idle.

    A server that ends, or is cut off, says so or hangs up, and then there is something to read:
    only then is it worth a question to the server, which takes as long as a short query.
    """
    if _is_spoken_to(connection):
        ConnectionPool.check_connection(connection)


async def check_async_if_spoken_to(connection: AsyncConnection[TupleRow]) -> None:
    """As `check_if_spoken_to`."""
    if _is_spoken_to(connection):
        await AsyncConnectionPool.check_connection(connection)


def _is_spoken_to(connection: Connection[TupleRow] | AsyncConnection[TupleRow]) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
