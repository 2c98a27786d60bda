"""What Stripe's API is asked: what was bought, where a body does not say it or not all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

#: How long one request may take: a worker waits for it with a delivery in its hands.
_TIMEOUT_SECONDS: Final = 20

_PAGE: Final = 100


class StripeApi:
    """Stripe's API with one key. `address` is set where another server stands in for it.

    Lines come as the API's own objects, with each price in full in the place of its id.
    """

    def __init__(self, api_key: str, address: str | None = None) -> None:
        # Takes a tenth of a second to import: only who has a key waits for it.
        import stripe  # noqa: PLC0415

        self._client = stripe.StripeClient(
            api_key,
            base_addresses={} if address is None else {"api": address},
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
            max_network_retries=1,
        )

    def session_lines(self, session_id: str) -> Iterator[dict[str, Any]]:
        """What was bought in a Checkout Session. Raises stripe.StripeError."""
        found = self._client.v1.checkout.sessions.line_items.list(
            session_id, {"limit": _PAGE, "expand": ["data.price"]}
        )
        return (item.to_dict() for item in found.auto_paging_iter())

    def invoice_lines(self, invoice_id: str) -> Iterator[dict[str, Any]]:
        """All lines of an invoice; a body holds the first ones. Raises stripe.StripeError."""
        found = self._client.v1.invoices.line_items.list(
            invoice_id, {"limit": _PAGE, "expand": ["data.pricing.price_details.price"]}
        )
        return (line.to_dict() for line in found.auto_paging_iter())
