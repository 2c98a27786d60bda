"""Whether a webhook's body is signed by its provider: the providers' own libraries decide.

Several secrets are valid at once, so that one can be replaced without losing a delivery.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import stripe
from standardwebhooks.webhooks import (
    EmptyWebhookSecretError,
    Webhook,
    WebhookVerificationError,
)

#: How old a signature may be. Stripe's library bounds only the past, Polar's the future, too.
TOLERANCE_SECONDS = 300

_POLAR_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Unsigned(Exception):
    """There is no signature, or none of the secrets made it in the last five minutes."""


class Unreadable(Exception):
    """The body is not UTF-8, so that no provider can have sent it."""


def verify(provider: str, body: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> None:
    """Return where the body is signed with one of the secrets.

    `headers` have lower-case names. Raises Unsigned or Unreadable.
    """
    if provider == "stripe":
        _verify_stripe(body, headers.get("stripe-signature"), secrets)
    else:
        _verify_polar(body, headers, secrets)


def _verify_stripe(body: bytes, header: str | None, secrets: Sequence[str]) -> None:
    if not header:
        raise Unsigned("the header Stripe-Signature is missing")
    text = _text(body)
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(text, header, secret, TOLERANCE_SECONDS)
        except (stripe.SignatureVerificationError, TypeError, ValueError, OverflowError):
            # Besides its own error, the library lets those of strange headers through.
            continue
        return
    raise Unsigned("no signature in Stripe-Signature fits, or it is older than five minutes")


def _verify_polar(body: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> None:
    missing = [name for name in _POLAR_HEADERS if not headers.get(name)]
    if missing:
        raise Unsigned(f"the header {missing[0]} is missing")
    text = _text(body)
    signed = {name: headers[name] for name in _POLAR_HEADERS}
    # One entry that is no signature makes the library refuse the good ones beside it.
    entries = [entry for entry in signed["webhook-signature"].split() if entry.count(",") == 1]
    signed["webhook-signature"] = " ".join(entries)
    for key in _polar_keys(secrets):
        try:
            Webhook(key).verify(text, signed, json_parse=False)
        except (
            WebhookVerificationError,
            EmptyWebhookSecretError,
            TypeError,
            ValueError,
            OverflowError,
        ):
            continue
        return
    raise Unsigned("no entry in webhook-signature fits, or it is not of the last five minutes")


def _polar_keys(secrets: Iterable[str]) -> Iterable[bytes]:
    """Each secret's two keys: what its base64 says, and its own text (secrets before 2026-09)."""
    for secret in secrets:
        with suppress(binascii.Error, ValueError):
            yield base64.b64decode(secret.removeprefix("whsec_") + "==")
        yield secret.encode()


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
