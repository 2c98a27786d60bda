"""Bodies as the providers send them, made up for the tests, and signatures as they make them.

One story runs through them: the customer `org_tern` buys two packs of 300 credits at Stripe for
1400 cents and one of 600 at Polar for 1500 before tax, and both are refunded in two parts;
`org_plover` buys 2000 credits at Stripe for 2600 by a bank debit that takes days, and its bank
disputes that. `org_tern` subscribes to the plan Nest at both, renews it, goes up to a larger one in
the middle of a period, cancels, and at Polar changes its mind; `org_wren` tries Nest for two weeks.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from creditledger.domain.amounts import Credits
from creditledger.domain.provider_commands import SetPrice

BODIES = Path(__file__).parents[1] / "webhooks" / "bodies"

TERN = "org_tern"
PLOVER = "org_plover"

STRIPE_PACK = "price_3TyMLbS0Eqh68LvS46CRZYlH"
STRIPE_LARGE_PACK = "price_7LzVhUEOi64ioZzRvaVOjchW"
POLAR_PACK = "3d1bf352-0a27-4b4e-9181-d304f000f6d4"

STRIPE_NEST = "price_0pwgFH4Gcy7jvgeqb29t9FvT"
STRIPE_FLOCK = "price_5zT6zjY71grFgaHFpvHCh8ST"
POLAR_NEST = "4439858c-fbb7-4e33-832a-68c8586203ce"
POLAR_COLONY = "265b9716-fadf-4b92-9468-41ec2ae1fc88"

PRICES = (
    SetPrice(provider="stripe", price_id=STRIPE_PACK, credits=Credits(300)),
    SetPrice(provider="stripe", price_id=STRIPE_LARGE_PACK, credits=Credits(2000)),
    SetPrice(provider="polar", price_id=POLAR_PACK, credits=Credits(600)),
)

PLANS = (
    SetPrice(provider="stripe", price_id=STRIPE_NEST, credits=Credits(700), kind="recurring"),
    SetPrice(provider="stripe", price_id=STRIPE_FLOCK, credits=Credits(3000), kind="recurring"),
    SetPrice(provider="polar", price_id=POLAR_NEST, credits=Credits(700), kind="recurring"),
    SetPrice(provider="polar", price_id=POLAR_COLONY, credits=Credits(3600), kind="recurring"),
)


def body(name: str) -> bytes:
    """The bytes of a body; its name is `provider.event_type.case`."""
    return (BODIES / f"{name}.json").read_bytes()


def event(name: str) -> dict[str, Any]:
    """A body's content, to be read or changed."""
    content: dict[str, Any] = json.loads(body(name))
    return content


def changed(name: str, envelope: Mapping[str, Any] | None = None, **fields: Any) -> bytes:
    """A body with other values in its object, and in its envelope."""
    content = event(name)
    content.update(envelope or {})
    data = content["data"]
    (data["object"] if name.startswith("stripe") else data).update(fields)
    return json.dumps(content, ensure_ascii=False).encode()


def stripe_headers(
    content: bytes, *secrets: str, age: int = 0, scheme: str = "v1"
) -> dict[str, str]:
    """Stripe's signature, one for each secret, made so many seconds ago."""
    at = int(time.time()) - age
    made = (
        hmac.new(secret.encode(), b"%d." % at + content, hashlib.sha256).hexdigest()
        for secret in secrets
    )
    return {"stripe-signature": ",".join([f"t={at}", *(f"{scheme}={hex_}" for hex_ in made)])}


def polar_headers(
    content: bytes,
    *keys: bytes,
    age: int = 0,
    webhook_id: str | None = None,
    version: str = "v1",
) -> dict[str, str]:
    """Polar's signature, one for each key, made so many seconds ago."""
    at, webhook_id = int(time.time()) - age, webhook_id or str(uuid4())
    signed = b"%s.%d." % (webhook_id.encode(), at) + content
    made = (base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in keys)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"{version},{text.decode()}" for text in made),
    }


def standard_key(secret: str) -> bytes:
    """The key in a Polar secret that was made since September 2026."""
    return base64.b64decode(secret.removeprefix("whsec_"))


def legacy_key(secret: str) -> bytes:
    """The key in a Polar secret that was made before, or chosen by the merchant."""
    return secret.encode()
