"""The main job, played against a running service as an outside client would: `make demo`.

A pack is bought at Stripe and another at Polar (signed webhooks, as the providers send them), work
is held for, done and paid for, one deduction is refunded, a trial runs out, and a part of the
Stripe payment is refunded, which takes credits back. Then the customer's statement is printed; each
line says which lots it touched. Every figure is checked: the exit code is 1 where one is wrong.

Environment: CREDITLEDGER_URL, CREDITLEDGER_API_KEY (scopes commands, read, admin),
CREDITLEDGER_STRIPE_WEBHOOK_SECRETS and CREDITLEDGER_POLAR_WEBHOOK_SECRETS as the service has them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

BODIES = Path(__file__).parent / "bodies"
PATIENCE_SECONDS = 15.0
TRIAL_SECONDS = 3


class Demo:
    """A client with an API key, and the two providers with their secrets."""

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex[:8]
        self.customer = f"acme-{self.run}"
        url = os.environ.get("CREDITLEDGER_URL", "http://127.0.0.1:8000")
        key = _setting("CREDITLEDGER_API_KEY")
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        )
        self.stripe_secret = _setting("CREDITLEDGER_STRIPE_WEBHOOK_SECRETS").split(",")[0]
        self.polar_secret = _setting("CREDITLEDGER_POLAR_WEBHOOK_SECRETS").split(",")[0]
        self.wrong = 0

    def command(self, method: str, path: str, expect: int = 201, **body: Any) -> dict[str, Any]:
        """Send a command with a key of its own, twice: the second must tell the first answer."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        first = self.http.request(method, path, json=body, headers=headers)
        again = self.http.request(method, path, json=body, headers=headers)
        self.check(f"{method} {path}", first.status_code, expect)
        self.check("… sent again, the same answer", again.content, first.content)
        answer: dict[str, Any] = first.json()
        return answer

    def balance(self, **params: Any) -> dict[str, Any]:
        """The customer's balance of credits."""
        found = self.http.get(f"/v1/customers/{self.customer}/balance", params=params)
        found.raise_for_status()
        balances = [b for b in found.json()["balances"] if b["asset"] == "credits"]
        return balances[0] if balances else {"available": 0, "held": 0, "debt": 0}

    def wait_for(self, what: str, available: int, after_position: int = 0) -> None:
        """Wait until so much is available: webhooks are booked a moment after they are taken.

        `after_position` makes the answer show at least the command that was told that position.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        found = None
        while found != available and time.monotonic() < deadline:
            time.sleep(0.05)
            found = self.balance(after_position=after_position)["available"]
        self.check(what, found, available)

    def stripe(self, body_file: str) -> None:
        """Deliver a Stripe event, signed as Stripe does, and then once more."""
        body = self._body(body_file)
        now = int(time.time())
        digest = hmac.new(self.stripe_secret.encode(), b"%d." % now + body, hashlib.sha256)
        headers = {"Stripe-Signature": f"t={now},v1={digest.hexdigest()}"}
        self._deliver("/webhooks/stripe", body, headers)

    def polar(self, body_file: str) -> None:
        """Deliver a Polar event, signed as Polar does, and then once more."""
        body = self._body(body_file)
        now, delivery = int(time.time()), str(uuid.uuid4())
        message = f"{delivery}.{now}.".encode() + body
        digest = hmac.new(_polar_key(self.polar_secret), message, hashlib.sha256).digest()
        headers = {
            "webhook-id": delivery,
            "webhook-timestamp": str(now),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
        self._deliver("/webhooks/polar", body, headers)

    def check(self, what: str, found: object, expected: object) -> None:
        """Print what was found, and remember where it is not what it should be."""
        if found == expected:
            shown = "" if isinstance(found, bytes) else f": {found}"
            print(f"  ✓ {what}{shown}")
        else:
            self.wrong += 1
            print(f"  ✗ {what}: {found!r}, expected {expected!r}")

    def _body(self, name: str) -> bytes:
        """One of the bodies in the folder, with ids and times of this run."""
        now = datetime.now(UTC)
        text = (BODIES / name).read_text()
        text = text.replace("RUNID", self.run).replace("CUSTOMER", self.customer)
        text = text.replace('"NOW"', str(int(now.timestamp())))
        return text.replace("ISO", now.isoformat()).encode()

    def _deliver(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        headers["Content-Type"] = "application/json"
        for what in ("webhook taken", "… and the same one again"):
            self.check(what, httpx_status(self.http, path, body, headers), 202)


def httpx_status(http: httpx.Client, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Post without the API key: webhooks are known by their signature alone."""
    return httpx.post(
        f"{http.base_url}".rstrip("/") + path, content=body, headers=headers
    ).status_code


def main() -> int:
    """Play the job; 0 where every figure was right."""
    demo = Demo()
    print(f"Customer {demo.customer}\n")
    buy(demo)
    work(demo)
    let_a_trial_expire(demo)
    take_a_payment_back(demo)
    statement(demo)
    if demo.wrong:
        print(f"\n{demo.wrong} figures are wrong.")
        return 1
    print("\nEvery figure is right.")
    return 0


def buy(demo: Demo) -> None:
    """Two packs of 500 credits at Stripe, one of 800 at Polar."""
    print("Buy two packs at Stripe and one at Polar")
    path = f"/v1/prices/stripe/price_pack500_{demo.run}"
    price = demo.http.put(path, json={"credits": 500, "kind": "one_time", "name": "500 credits"})
    demo.check("the price is known", price.status_code, 200)
    demo.stripe("stripe.checkout.session.completed.json")
    demo.wait_for("available after Stripe's purchase", 1000)
    demo.polar("polar.order.paid.json")
    demo.wait_for("available after Polar's purchase", 1800)


def work(demo: Demo) -> None:
    """A hold, captured in part; a deduction, given back in part."""
    print("Hold 300 for a job, and capture the 120 that it cost")
    customer = f"/v1/customers/{demo.customer}"
    held = demo.command("POST", f"{customer}/holds", amount=300, feature="render")
    demo.check("available while it is held", held["balance"]["available"], 1500)
    captured = demo.command("POST", f"/v1/holds/{held['hold_id']}/capture", amount=120)
    demo.check("released", captured["released"], 180)
    demo.check("available", captured["balance"]["available"], 1680)
    print("Deduct 80, and refund 30 of them")
    deducted = demo.command("POST", f"{customer}/deductions", amount=80, feature="tokens")
    refunded = demo.command(
        "POST", f"/v1/deductions/{deducted['deduction_id']}/refunds", amount=30, reason="too slow"
    )
    demo.check("back in lots", sum(line["amount"] for line in refunded["to"]), 30)
    demo.check("available", refunded["balance"]["available"], 1630)
    print("Try to spend more than there is")
    refused = demo.command("POST", f"{customer}/deductions", expect=402, amount=9_999)
    demo.check("why", refused["code"], "insufficient_credits")


def let_a_trial_expire(demo: Demo) -> None:
    """A trial grant whose time runs out while we watch."""
    print(f"Grant a trial of 50 that lasts {TRIAL_SECONDS} seconds, and wait")
    expires_at = (datetime.now(UTC) + timedelta(seconds=TRIAL_SECONDS)).isoformat()
    granted = demo.command(
        "POST",
        f"/v1/customers/{demo.customer}/grants",
        amount=50,
        source="trial",
        expires_at=expires_at,
    )
    demo.check("available with the trial", granted["balance"]["available"], 1680)
    demo.wait_for("available once it has expired", 1630, granted["position"])


def take_a_payment_back(demo: Demo) -> None:
    """A quarter of the Stripe payment is refunded: a quarter of its 1,000 credits goes."""
    print("Stripe refunds a quarter of the payment")
    demo.stripe("stripe.charge.refunded.json")
    demo.wait_for("available after the refund", 1380)
    exact = demo.balance(consistency="exact")
    demo.check("the same, answered from the events", exact["available"], 1380)
    payments = demo.http.get("/v1/payments", params={"customer_id": demo.customer}).json()
    stripe = [p for p in payments["payments"] if p["provider"] == "stripe"]
    demo.check("payments at Stripe", len(stripe), 1)
    if stripe:
        demo.check("granted by it", _total(stripe[0]["granted"]), 1000)
        demo.check("revoked of it", _total(stripe[0]["revoked"]), 250)


def statement(demo: Demo) -> None:
    """The whole history, each line with its lots, and its sums checked against the balance."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    entries: list[dict[str, Any]] = []
    # The trial's expiry is written down by the sweeper, some seconds after it took effect.
    while time.monotonic() < deadline and "expiry" not in {e["kind"] for e in entries}:
        time.sleep(0.2)
        entries = demo.http.get(
            f"/v1/customers/{demo.customer}/entries", params={"limit": 100}
        ).json()["entries"]
    sources = {entry["grant_id"]: entry["source"] for entry in entries if entry["kind"] == "grant"}
    print(f"\nStatement of {demo.customer}\n")
    print(f"  {'recorded':<12} {'what':<14} {'amount':>7} {'total':>6}  lots")
    total = 0
    for entry in reversed(entries):
        total += entry["amount"]
        touched = ", ".join(
            f"{lot['amount']} of {sources[lot['grant_id']]} …{lot['grant_id'][-4:]}"
            for lot in entry["lots"]
        )
        at = entry["recorded_at"][11:23]
        print(
            f"  {at} {entry['kind']:<14} {entry['amount']:>+7} {entry['total_after']:>6}  {touched}"
        )
        if entry["total_after"] != total:
            demo.check(f"total after {entry['entry_id']}", entry["total_after"], total)
    print()
    demo.check("entries", len(entries), 10)
    demo.check("their sum is what is available and held", total, 1380)


def _total(amounts: Any) -> int:
    """A payment's credits, whether told as one number or by asset."""
    if isinstance(amounts, int):
        return amounts
    if isinstance(amounts, dict):
        return sum(amounts.values())
    return sum(_total(line["amount"]) for line in amounts)


def _polar_key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4))


def _setting(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set; `make demo` sets it from the running service's settings")
    return value


if __name__ == "__main__":
    try:
        sys.exit(main())
    except httpx.HTTPError as error:
        sys.exit(f"The service did not answer ({error}). Is it running? Start it with `make run`.")
