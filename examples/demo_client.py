"""What the demo is played with: a client with an API key, and both providers with their secrets.

Everything that can be sent twice is sent twice, and every figure is checked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

BODIES: Final = Path(__file__).parent / "bodies"
PATIENCE_SECONDS: Final = 15.0


class Demo:
    """One customer's story, told to the service as outside clients and providers tell it."""

    def __init__(self, name: str) -> None:
        self.run = uuid.uuid4().hex[:8]
        self.customer = f"{name}-{self.run}"
        self.wrong = 0
        self.deliveries = 0
        key = _setting("CREDITLEDGER_API_KEY")
        self.http = httpx.Client(
            base_url=os.environ.get("CREDITLEDGER_URL", "http://127.0.0.1:8000"),
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )
        self._stripe_secret = _setting("CREDITLEDGER_STRIPE_WEBHOOK_SECRETS").split(",")[0]
        self._polar_secret = _setting("CREDITLEDGER_POLAR_WEBHOOK_SECRETS").split(",")[0]

    def command(self, method: str, path: str, expect: int = 201, **body: Any) -> dict[str, Any]:
        """Send a command with a key of its own, twice: the second must tell the first answer."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        first = self.http.request(method, path, json=body, headers=headers)
        again = self.http.request(method, path, json=body, headers=headers)
        self.check(f"{method} {path}", first.status_code, expect)
        self.check("… sent again, the same answer", again.content, first.content)
        answer: dict[str, Any] = first.json()
        return answer

    def deduct(self, amount: int, feature: str) -> dict[str, Any]:
        """Take credits for use."""
        path = f"/v1/customers/{self.customer}/deductions"
        return self.command("POST", path, amount=amount, feature=feature)

    def enter_price(self, provider: str, price_id: str, credits: int, kind: str, name: str) -> None:
        """Say what a price at a provider is worth."""
        body = {"credits": credits, "kind": kind, "name": name}
        entered = self.http.put(f"/v1/prices/{provider}/{price_id}", json=body)
        self.check(f"entered: {name} is worth {credits} credits", entered.status_code, 200)

    def ask(self, path: str, **params: Any) -> dict[str, Any]:
        """The answer to a query."""
        found = self.http.get(path, params=params)
        found.raise_for_status()
        answer: dict[str, Any] = found.json()
        return answer

    def balance(self, **params: Any) -> dict[str, Any]:
        """The customer's balance of credits."""
        balances = self.ask(f"/v1/customers/{self.customer}/balance", **params)["balances"]
        found = [balance for balance in balances if balance["asset"] == "credits"]
        return found[0] if found else {"available": 0, "held": 0, "debt": 0, "next_expiry": None}

    def wait_for(
        self,
        what: str,
        available: int,
        *,
        after_position: int = 0,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Wait until so much is available: webhooks are booked a moment after they are taken.

        `after_position` makes the answer show at least the command that was told that position.
        """
        deadline = time.monotonic() + patience_seconds
        found = None
        while found != available and time.monotonic() < deadline:
            time.sleep(0.05)
            found = self.balance(after_position=after_position)["available"]
        self.check(what, found, available)

    def stripe(self, body_file: str, **values: Any) -> str:
        """Deliver a Stripe event, signed as Stripe does, and then once more; return its id."""
        event = self.body(body_file, **values)
        body = _dumped(event)
        now = int(time.time())
        digest = hmac.new(self._stripe_secret.encode(), b"%d." % now + body, hashlib.sha256)
        headers = {"Stripe-Signature": f"t={now},v1={digest.hexdigest()}"}
        self._deliver("stripe", event["type"], body, headers)
        return str(event["id"])

    def polar(self, body_file: str, **values: Any) -> str:
        """Deliver a Polar event, signed as Polar does, and then once more; return its id."""
        event = self.body(body_file, **values)
        body = _dumped(event)
        now, delivery = int(time.time()), str(uuid.uuid4())
        message = f"{delivery}.{now}.".encode() + body
        digest = hmac.new(_polar_key(self._polar_secret), message, hashlib.sha256).digest()
        headers = {
            "webhook-id": delivery,
            "webhook-timestamp": str(now),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
        self._deliver("polar", event["type"], body, headers)
        return delivery

    def wait_for_outcome(self, what: str, delivery: str, **expected: str | None) -> None:
        """Wait until a delivery has come to this; one that is on Kafka yet is not listed."""

        def look() -> Mapping[str, Any]:
            found = self.ask("/v1/webhooks", provider_delivery_id=delivery)["webhooks"]
            return found[0] if found else {}

        self.wait_until(what, look, expected)

    def body(self, name: str, **values: Any) -> Any:
        """One of the bodies in the folder, with the values of this run."""
        now = datetime.now(UTC)
        given = {"NOW": int(now.timestamp()), "ISO": now.isoformat(), **values}
        text = (BODIES / f"{name}.json").read_text()
        text = text.replace("RUNID", self.run).replace("CUSTOMER", self.customer)
        return _filled(json.loads(text), given)

    def wait_until(
        self, what: str, look: Callable[[], Mapping[str, Any]], expected: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Wait until what is looked at has these values; return all that it has then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = look()
            shown = {name: found.get(name) for name in expected}
            if shown == expected or time.monotonic() > deadline:
                self.check(what, _listed(shown), _listed(expected))
                return found
            time.sleep(0.05)

    def check(self, what: str, found: object, expected: object) -> None:
        """Print what was found, and remember where it is not what it should be."""
        if found == expected:
            shown = "" if isinstance(found, bytes) else f": {found}"
            print(f"  ✓ {what}{shown}", flush=True)
        else:
            self.wrong += 1
            print(f"  ✗ {what}: {found!r}, expected {expected!r}", flush=True)

    def _deliver(self, provider: str, kind: str, body: bytes, headers: dict[str, str]) -> None:
        """Post without the API key, twice: webhooks are known by their signature alone."""
        url = f"{self.http.base_url}".rstrip("/") + f"/webhooks/{provider}"
        headers["Content-Type"] = "application/json"
        first, again = (httpx.post(url, content=body, headers=headers) for _ in range(2))
        self.deliveries += 2
        same = first.status_code == again.status_code
        found = first.status_code if same else (first.status_code, again.status_code)
        self.check(f"{provider} sends {kind}, twice", found, 202)


def _filled(template: Any, values: dict[str, Any]) -> Any:
    """The template with values in the places of their names."""
    if isinstance(template, dict):
        return {name: _filled(inner, values) for name, inner in template.items()}
    if isinstance(template, list):
        return [_filled(inner, values) for inner in template]
    if isinstance(template, str):
        return values.get(template, template)
    return template


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _dumped(event: Any) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def _polar_key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4))


def _setting(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set; `make demo` sets it from the running service's settings")
    return value
