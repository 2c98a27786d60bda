"""`creditledger webhooks`: what the providers delivered, what came of it, and another try."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import typer
from psycopg import AsyncConnection
from rich.console import Console
from rich.table import Table

from creditledger.infra import deliveries
from creditledger.infra.database import conninfo
from creditledger.infra.delivery import DeliveryStatus
from creditledger.infra.settings import load_settings
from creditledger.infra.wiring import database, require_migrated

T = TypeVar("T")

webhooks_app = typer.Typer(help="Deliveries of the payment providers.", no_args_is_help=True)

_DELIVERY_ID_LENGTH = len("whd_") + 26

_DeliveryId = Annotated[
    str, typer.Argument(help="the delivery's id (whd_…), as `webhooks list` shows it")
]


@webhooks_app.command("list")
def list_webhooks(
    status: Annotated[DeliveryStatus | None, typer.Option(help="only those that stand so")] = None,
    reason: Annotated[str | None, typer.Option(help="only those with this reason")] = None,
    provider: Annotated[str | None, typer.Option(help="stripe or polar")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="how many, newest first")] = 50,
) -> None:
    """List deliveries, newest first."""
    page = _ask(
        lambda c: deliveries.deliveries(
            c, limit=limit, status=status, reason=reason, provider=provider
        )
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("delivery", min_width=_DELIVERY_ID_LENGTH)
    for title in ("received", "type", "status", "reason", "waits for"):
        table.add_column(title, overflow="fold")
    for row in page["webhooks"]:
        table.add_row(
            row["delivery_id"],
            row["received_at"],
            row["type"] or "",
            row["status"],
            row["reason"] or "",
            row["waits_for"] or "",
        )
    Console(soft_wrap=True).print(table)


@webhooks_app.command("show")
def show_webhook(delivery_id: _DeliveryId) -> None:
    """Print one delivery with its headers and its body, as JSON."""
    found = _ask(lambda c: deliveries.delivery(c, delivery_id))
    if found is None:
        sys.exit(f"creditledger: there is no delivery {delivery_id}")
    print(json.dumps({**found, "body": json.loads(found["body"])}, indent=2, ensure_ascii=False))


@webhooks_app.command("replay")
def replay_webhooks(
    delivery_ids: Annotated[list[str] | None, typer.Argument(help="whd_…, one or several")] = None,
    reason: Annotated[
        str | None, typer.Option(help="all that are parked or failed for this reason")
    ] = None,
) -> None:
    """Have deliveries tried again: these, or all that wait for a reason."""
    if (reason is None) == (not delivery_ids):
        raise typer.BadParameter("name deliveries, or a reason")
    replayed = _ask(partial(_replay, delivery_ids=delivery_ids or [], reason=reason))
    print(f"Deliveries that will be tried again: {replayed}", file=sys.stderr)


async def _replay(
    connection: AsyncConnection[Any], *, delivery_ids: Sequence[str], reason: str | None
) -> int:
    if reason is not None:
        return await deliveries.replay_all(connection, reason)
    for delivery_id in delivery_ids:
        if not await deliveries.replay(connection, delivery_id):
            sys.exit(f"creditledger: there is no delivery {delivery_id}")
    return len(delivery_ids)


def _ask(question: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    async def asked(url: str) -> T:
        address = conninfo(url, "creditledger command")
        async with await AsyncConnection.connect(address, autocommit=True) as connection:
            return await question(connection)

    with database(load_settings()) as url:
        require_migrated(url)
        return asyncio.run(asked(url))
