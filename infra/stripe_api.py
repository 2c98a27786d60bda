"""What Stripe's API is asked: what was bought in a Checkout Session, whose body does not say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import stripe

from creditledger.domain.amounts import CREDITS_MAX, Credits
from creditledger.domain.provider_commands import LearnedPrice, PurchaseLine

#: How long one request may take: a worker waits for it with a delivery in its hands.
_TIMEOUT_SECONDS: Final = 20

_PAGE: Final = 100

_WHOLE_NUMBER = re.compile(r"[0-9]{1,16}")


class StripeApi:
    """Stripe's API with one key. `address` is set where another server stands in for it."""

    def __init__(self, api_key: str, address: str | None = None) -> None:
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={} if address is None else {"api": address},
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
            max_network_retries=1,
        )

    def line_items(self, session_id: str) -> Sequence[PurchaseLine]:
        """What was bought in a Checkout Session. Raises stripe.StripeError."""
        found = self._client.v1.checkout.sessions.line_items.list(
            session_id, {"limit": _PAGE, "expand": ["data.price"]}
        )
        return [_line(item.to_dict()) for item in found.auto_paging_iter()]


def _line(item: Mapping[str, Any]) -> PurchaseLine:
    price = item.get("price") or {}
    return PurchaseLine(
        price_id=price.get("id"),
        quantity=1 if item.get("quantity") is None else int(item["quantity"]),
        amount=item.get("amount_total"),
        learned=_learned(price),
    )


def _learned(price: Mapping[str, Any]) -> LearnedPrice | None:
    metadata = price.get("metadata") or {}
    credits = str(metadata.get("credits", ""))
    if not _WHOLE_NUMBER.fullmatch(credits) or int(credits) > CREDITS_MAX:
        return None
    return LearnedPrice(
        credits=Credits(int(credits)),
        kind="recurring" if price.get("recurring") else "one_time",
        name=metadata.get("publicName") or price.get("nickname"),
        plan_family=metadata.get("planFamily"),
        version=metadata.get("version"),
    )
