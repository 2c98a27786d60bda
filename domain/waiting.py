"""What a parked delivery waits for: a price, a link or a payment of a provider.

Written `price:stripe:price_…`, `link:polar:…`, `payment:stripe:pi_…`. Each names the stream in
which the news will stand, so that it needs no index of its own to be noticed.
"""

from __future__ import annotations

from uuid import UUID

from creditledger.domain import ids

_STREAMS = {
    "price": ids.price_stream,
    "link": ids.link_stream,
    "payment": ids.payment_stream,
}


def price(provider: str, price_id: str) -> str:
    """Somebody says what the price is worth."""
    return f"price:{provider}:{price_id}"


def link(provider: str, provider_customer_id: str) -> str:
    """Somebody says whose the provider's customer is."""
    return f"link:{provider}:{provider_customer_id}"


def payment(provider: str, provider_id: str) -> str:
    """The payment is granted, or somebody says whose it is."""
    return f"payment:{provider}:{provider_id}"


def stream_of(waits_for: str) -> UUID:
    """The stream in which what is waited for will be recorded.

    Raises ValueError where the text is none that the functions above write.
    """
    kind, provider, name = waits_for.split(":", 2)
    if kind not in _STREAMS:
        raise ValueError(f"nothing waits for {waits_for!r}")
    return _STREAMS[kind](provider, name)
