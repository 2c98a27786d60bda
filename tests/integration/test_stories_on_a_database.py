"""The stories of the providers' news through the whole service: stream, ledger, read models.

Told in the natural order and in others, every table says the same in the end, and `verify` is
clean.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from body_story import MID_PERIOD, Body
from creditledger.infra.database import connect
from creditledger.infra.event_log import EventLog
from creditledger.infra.proof import verify_ledger
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import service
from provider_bodies import PLANS, PRICES
from provider_stories import STORIES
from read_models import catch_up
from webhook_desk import Desk

#: What each read model says, ids, positions and recorded times aside.
_SAYING = {
    "lots": "SELECT customer_id, source, priority, expires_at, remaining FROM lots WHERE open",
    "debts": "SELECT customer_id, asset, sum(debt) FROM lots GROUP BY 1, 2",
    "payments": """
        SELECT provider_id, provider_customer_id, customer_id, status, paid, currency, refunded,
               disputed, lines, refunds, disputes, subscription, paid_at
        FROM payments
    """,
    "grants": """
        SELECT payment, asset, sum(granted - withdrawn) AS granted,
               sum(revoked - withdrawn) AS revoked
        FROM payment_grants GROUP BY payment, asset HAVING sum(granted) > sum(withdrawn)
    """,
    "subscriptions": "SELECT to_jsonb(s) - 'position' - 'recorded_at' FROM subscriptions AS s",
    "reports": """
        SELECT stream, newness, report - 'recorded_at' - 'position' - 'event_id'
        FROM subscription_reports
    """,
    "links": "SELECT provider_customer_id, customer_id, closed FROM links",
    "prices": "SELECT to_jsonb(p) - 'position' - 'recorded_at' FROM prices AS p",
    "products": "SELECT to_jsonb(p) - 'position' - 'recorded_at' FROM products AS p",
}


def told(url: str, bodies: list[Body]) -> dict[str, Any]:
    """What the read models say when the bodies were delivered in this order."""
    with service(Settings(), url, now=lambda: MID_PERIOD) as parts:
        desk = Desk(parts, now=lambda: MID_PERIOD)
        desk.wish(*PRICES, *PLANS)
        desk.tell(*(body.as_delivered() for body in bodies))
        assert {row["status"] for row in desk.rows()} <= {"done", "ignored"}
        desk.stream.close()
        catch_up(url, EventLog(parts.pool))
    report = verify_ledger(url, MID_PERIOD)
    assert report.clean, report.differences
    with connect(url, "tests") as connection:
        return {
            name: sorted(map(str, connection.execute(query).fetchall()))
            for name, query in _SAYING.items()
        }


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_every_order_fills_the_tables_the_same(
    name: str, new_database_url: Callable[[], str]
) -> None:
    bodies = list(STORIES[name])
    natural = told(new_database_url(), bodies)
    random = Random(name)
    random.shuffle(bodies)
    again = random.sample(bodies, 3)
    assert told(new_database_url(), [*bodies, *again]) == natural
