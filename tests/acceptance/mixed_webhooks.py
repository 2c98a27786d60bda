"""A provider that tells of payments and refunds while everything is being killed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import httpx

from creditledger.domain import ids
from creditledger.infra.database import connect
from processes import API_KEY
from provider_bodies import STRIPE_PACK, changed, stripe_headers

SECRET: Final = "whsec_torture"

#: The key of the only command that no client has sent.
PRICE_KEY: Final = "price"

_PATIENCE_SECONDS = 4.0
_REST_SECONDS_MAX = 0.15

#: A pack is worth 300 credits, and each payment is of two of them.
_GRANTED, _REFUNDED = 600, 150
_BUYERS = 5

#: How long it takes at most, when all is well again, until all is delivered.
_LEFT_SECONDS_MAX = 60.0

_SESSION = "stripe.checkout.session.completed.payment_paid"
_INTENT = "stripe.payment_intent.succeeded.pack"
_REFUND = "stripe.charge.refunded.partial"

_LAST_BALANCES = """
    SELECT DISTINCT ON (stream) stream, (state->'after'->>'available')::bigint
      FROM ledger_log WHERE stream = ANY (%s) AND state ? 'after'
     ORDER BY stream, position DESC
"""


_LEFT = """
    SELECT status, reason, count(*) FROM webhook_deliveries
     WHERE status NOT IN ('done', 'ignored') GROUP BY status, reason
"""


class Provider:
    """Sends each event once or twice, in any order, and again until it is answered 2xx."""

    def __init__(self, seed: int, urls: Sequence[str]) -> None:
        self.delivered = 0
        self._chance = Random(f"provider {seed}")
        self._apis = [httpx.Client(base_url=url, timeout=_PATIENCE_SECONDS) for url in urls]
        self._expected: Counter[str] = Counter()
        self._payments = 0
        self._waiting: list[bytes] = []

    def press(self, stop: threading.Event) -> None:
        """Tell of one payment after another until told to stop; then of what is left."""
        deadline = float("inf")
        while not stop.is_set() or self._waiting:
            if stop.is_set():
                deadline = min(deadline, time.monotonic() + _LEFT_SECONDS_MAX)
                assert time.monotonic() < deadline, f"{len(self._waiting)} were not taken"
            if not stop.is_set() and len(self._waiting) < 2 * _BUYERS:
                self._buy()
            place = self._chance.randrange(len(self._waiting))
            if self._send(self._waiting[place]):
                del self._waiting[place]
                self.delivered += 1
            time.sleep(self._chance.uniform(0, _REST_SECONDS_MAX))
        for api in self._apis:
            api.close()

    def enter_price(self) -> None:
        """Say what a pack is worth."""
        headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": PRICE_KEY}
        told = self._apis[0].put(
            f"/v1/prices/stripe/{STRIPE_PACK}", json={"credits": _GRANTED // 2}, headers=headers
        )
        assert told.is_success, told.text

    def assert_booked(self, database_url: str, *, within_seconds: float) -> None:
        """Each payment was granted once and its refund taken once, however often it was told of."""
        streams = {ids.account_id(buyer, "credits"): buyer for buyer in self._expected}
        deadline = time.monotonic() + within_seconds
        while True:
            with connect(database_url, "tests") as connection:
                rows = connection.execute(_LAST_BALANCES, (list(streams),)).fetchall()
                left = connection.execute(_LEFT).fetchall()
            found = {streams[stream]: available for stream, available in rows}
            if found == self._expected and not left:
                return
            assert time.monotonic() < deadline, (found, dict(self._expected), left)
            time.sleep(0.5)

    def _buy(self) -> None:
        self._payments += 1
        payment = f"pi_torture{self._payments}"
        buyer = f"buyer-{self._payments % _BUYERS}"
        whose = {"ledger_account": buyer, "price_id": STRIPE_PACK, "quantity": "2"}
        names: dict[str, dict[str, Any]] = {
            _SESSION: {
                "id": f"cs_torture{self._payments}",
                "payment_intent": payment,
                "client_reference_id": buyer,
                "metadata": whose,
            },
            _INTENT: {"id": payment, "metadata": whose},
        }
        self._expected[buyer] += _GRANTED
        if self._chance.random() < 0.4:
            names[_REFUND] = {"payment_intent": payment, "metadata": whose}
            self._expected[buyer] -= _REFUNDED
        for name, fields in names.items():
            envelope = {"id": f"evt_torture{self._payments}{name.rsplit('.', 1)[1]}"}
            told = changed(name, envelope, **fields)
            self._waiting += [told] * self._chance.choice((1, 1, 2))

    def _send(self, content: bytes) -> bool:
        api = self._chance.choice(self._apis)
        try:
            told = api.post(
                "/webhooks/stripe", content=content, headers=stripe_headers(content, SECRET)
            )
        except httpx.TransportError:
            return False
        assert told.is_success or told.status_code == httpx.codes.SERVICE_UNAVAILABLE, told.text
        return told.is_success
