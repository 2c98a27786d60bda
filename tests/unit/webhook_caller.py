"""The API as providers and people with an API key call it about payments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import httpx
from pydantic import SecretStr

from api_server import Api, running_api
from creditledger.consumers.worker import consume
from provider_bodies import (
    STRIPE_PACK,
    TERN,
    body,
    legacy_key,
    polar_headers,
    stripe_headers,
)

OLD, NEW = "whsec_0ld", "whsec_new"
POLAR_SECRET = "polar_whs_Wb7rT0qkZ4mXs2"

PRICE_PATH = f"/v1/prices/stripe/{STRIPE_PACK}"


class Caller:
    """A provider without a key, and somebody with one."""

    def __init__(self, api: Api, provider: httpx.Client, person: httpx.Client) -> None:
        self.api = api
        self.provider = provider
        self.person = person

    def stripe(self, content: bytes | str, *secrets: str, age: int = 0) -> httpx.Response:
        """Deliver a Stripe event, signed with these secrets (the new one where none is given)."""
        raw = body(content) if isinstance(content, str) else content
        headers = stripe_headers(raw, *(secrets or (NEW,)), age=age)
        return self.provider.post("/webhooks/stripe", content=raw, headers=headers)

    def polar(
        self, content: bytes | str, *, webhook_id: str | None = None, age: int = 0
    ) -> httpx.Response:
        """Deliver a Polar event."""
        raw = body(content) if isinstance(content, str) else content
        headers = polar_headers(raw, legacy_key(POLAR_SECRET), webhook_id=webhook_id, age=age)
        return self.provider.post("/webhooks/polar", content=raw, headers=headers)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request with the API key."""
        return self.person.request(method, path, **options)

    def get(self, path: str) -> Any:
        """What is answered to a request that must be."""
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def deliveries(self, **filters: str) -> list[dict[str, Any]]:
        """The deliveries that fit, newest first."""
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        return list(self.get(f"/v1/webhooks?{query}")["webhooks"])

    def available(self, customer_id: str = TERN) -> int:
        """What a customer can spend, from the events."""
        path = f"/v1/customers/{customer_id}/balance?consistency=exact"
        return sum(balance["available"] for balance in self.get(path)["balances"])

    def set_price(self) -> None:
        """Say that Stripe's pack is worth 300 credits."""
        answer = self.ask("PUT", PRICE_PATH, json={"credits": 300, "name": "300 credits"})
        assert answer.status_code == 200, answer.text


@contextmanager
def calling(url: str, *, working: bool, **settings: Any) -> Iterator[Caller]:
    """A caller of an API on a migrated database: with everything behind it, or the API alone."""
    stop = Event()
    with (
        running_api(
            url,
            read_side=working,
            stripe_webhook_secrets=(SecretStr(NEW), SecretStr(OLD)),
            polar_webhook_secrets=(SecretStr(POLAR_SECRET),),
            **settings,
        ) as api,
        httpx.Client(base_url=api.url, timeout=30) as provider,
    ):
        worker = Thread(target=consume, args=(api.service, stop))
        if working:
            worker.start()
        try:
            yield Caller(api, provider, api.http)
        finally:
            stop.set()
            if working:
                worker.join()


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    """The answer is a problem of this kind."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
