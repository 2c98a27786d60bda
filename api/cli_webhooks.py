"""`creditledger webhooks`: what the providers delivered, what came of it, and another try."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection

from creditledger.api.cli_database import ask
from creditledger.api.cli_tables import print_table
from creditledger.infra import deliveries
from creditledger.infra.delivery import DeliveryStatus

webhooks_app = typer.Typer(help="Deliveries of the payment providers.", no_args_is_help=True)

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
    page = ask(
        lambda c: deliveries.deliveries(
            c, limit=limit, status=status, reason=reason, provider=provider
        )
    )
    print_table(
        ("delivery", "received", "type", "status", "reason", "waits for"),
        (
            (
                *(row["delivery_id"], row["received_at"], row["type"] or ""),
                *(row["status"], row["reason"] or "", row["waits_for"] or ""),
            )
            for row in page["webhooks"]
        ),
    )


@webhooks_app.command("show")
def show_webhook(delivery_id: _DeliveryId) -> None:
    """Print one delivery with its headers and its body, as JSON."""
    found = ask(lambda c: deliveries.delivery(c, delivery_id))
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
    replayed = ask(partial(_replay, delivery_ids=delivery_ids or [], reason=reason))
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
