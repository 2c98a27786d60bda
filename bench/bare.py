"""A bare service: uvicorn and asyncpg, the yardstick's event and balance in one statement.

It authenticates nobody, checks nothing, remembers no key and keeps no history that could be
replayed: what is left of a request when all that a ledger does is taken away.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import orjson
from rich.console import Console
from rich.table import Table
from starlette.types import Receive, Scope, Send

import load
import service
from yardstick import ACCOUNTS, Ruler

_SPEND = """
    WITH event AS (INSERT INTO yardstick_events (account, amount) VALUES ($1, $2))
    UPDATE yardstick_balances SET balance = balance - $2 WHERE account = $1 RETURNING balance
"""

_DATABASE_CONNECTIONS = 16
_STOP_SECONDS = 30.0


class Bare:
    """The application: a POST of `{"account": 1, "amount": 1}` is told the balance after it."""

    def __init__(self) -> None:
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the beginning and the end of it all."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        assert self._pool is not None
        said = orjson.loads((await receive())["body"] or b"{}")
        balance = None
        if said:
            balance = await self._pool.fetchval(_SPEND, said["account"], said["amount"])
        body = orjson.dumps({"balance": balance})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._pool = await asyncpg.create_pool(
            os.environ["BARE_DSN"], min_size=_DATABASE_CONNECTIONS, max_size=_DATABASE_CONNECTIONS
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})


application = Bare()


def show(console: Console, dsn: str, *, seconds: int, ruler_seconds: int) -> None:
    """Print what it does under the loads of single deductions."""
    table = Table(
        *("load", "conn.", "commands/s", "yardstick", "ratio", "p50 ms", "p99 ms"),
        title="To compare: a bare service, one statement, no rules, no log",
    )
    ruler = Ruler(dsn, seconds=ruler_seconds)
    with _running(dsn) as url:
        for connections in (16, 64):
            for name, accounts in (("one account", 1), (f"{ACCOUNTS:,} accounts", ACCOUNTS)):
                with ruler.beside() as beside:
                    found = load.run(
                        "bare.lua", url, str(accounts), connections=connections, seconds=seconds
                    )
                if found.failed:
                    raise RuntimeError(f"{found.failed} requests to the bare service failed")
                table.add_row(
                    f"deduct, {name}",
                    str(connections),
                    f"{found.per_second:,.0f}",
                    f"{beside.per_second:,.0f}",
                    f"{found.per_second / beside.per_second:.2f}",
                    f"{found.p50_ms:.1f}",
                    f"{found.p99_ms:.1f}",
                )
    console.print(table)


@contextmanager
def _running(dsn: str) -> Iterator[str]:
    """Start it on a database that the yardstick was laid on; gives the address."""
    port = service.free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "bare:application", "--port", str(port)),
            *("--no-access-log", "--log-level", "warning"),
        ],
        cwd=Path(__file__).parent,
        env={**os.environ, "BARE_DSN": dsn},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        service.wait_until_ready(url, [process])
        yield url
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)
