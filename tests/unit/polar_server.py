"""Polar as it answers for its lists, from recorded calls.

`tests/webhooks/polar_lists.json` holds the calls as polar-sdk 1.0.2 sends them, and made-up
answers that its models load. The story in them: the customer `org_dunlin` buys two packs of 600
credits for 1500 before tax, one of which is partly refunded; the bank takes back the other.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from loopback import Answer, Asked, Loopback

RECORDING = Path(__file__).parents[1] / "webhooks" / "polar_lists.json"

TOKEN = "polar_oat_dunlin"
DUNLIN = "org_dunlin"

Item = dict[str, Any]


def recorded_calls() -> list[dict[str, Any]]:
    """The calls, each with what was answered."""
    calls: list[dict[str, Any]] = json.loads(RECORDING.read_text())["calls"]
    return calls


class Polar(Loopback):
    """Lists that a test may change, in pages of `page_size` at most."""

    def __init__(self, *, page_size: int = 100) -> None:
        super().__init__(self._respond)
        self.page_size = page_size
        self.lists: dict[str, list[Item]] = {}
        #: Orders that are found by their id alone, as very old ones.
        self.old_orders: list[Item] = []
        #: Lists that the token may not read.
        self.forbidden: set[str] = set()
        for call in recorded_calls():
            path, body = call["path"].split("?")[0], call["response"]["body"]
            if "items" in body:
                self.lists[path] = deepcopy(body["items"])

    @property
    def orders(self) -> list[Item]:
        return self.lists["/v1/orders/"]

    @property
    def refunds(self) -> list[Item]:
        return self.lists["/v1/refunds/"]

    @property
    def disputes(self) -> list[Item]:
        return self.lists["/v1/disputes/"]

    @property
    def subscriptions(self) -> list[Item]:
        return self.lists["/v1/subscriptions/"]

    def _respond(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, {"error": "invalid_token", "error_description": "The token is bad"})
        if asked.path in self.forbidden:
            return Answer(403, {"error": "insufficient_scope"})
        if asked.path in self.lists:
            return Answer(body=self._page(asked))
        for order in [*self.orders, *self.old_orders]:
            if asked.path == f"/v1/orders/{order['id']}":
                return Answer(body=order)
        return Answer(404, {"error": "ResourceNotFound", "detail": "Not found"})

    def _page(self, asked: Asked) -> dict[str, Any]:
        query = asked.query
        items = [
            item
            for item in self.lists[asked.path]
            if query.get("created_after", "") <= str(item.get("created_at"))
            and str(item.get("created_at")) <= query.get("created_before", "9")
        ]
        by = query["sorting"]
        items.sort(key=lambda item: str(item.get(by.lstrip("-"))), reverse=by.startswith("-"))
        size = min(int(query["limit"]), self.page_size)
        first = (int(query["page"]) - 1) * size
        return {
            "items": items[first : first + size],
            "pagination": {"total_count": len(items), "max_page": -(-len(items) // size)},
        }
