"""The API as clients meet it: a real server on a real database, and a client with a key."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import uvicorn

from creditledger.api.app import create_app
from creditledger.api.corked import CorkedHttp
from creditledger.api.metrics import Metrics
from creditledger.infra.clients import SCOPES, create_client
from creditledger.infra.database import connect
from creditledger.infra.proof import verify_ledger
from creditledger.infra.read_side import keep_up
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import Service, service

PATIENCE_SECONDS = 15.0

_numbers = itertools.count(1)


def new_customer() -> str:
    """A customer that no other test knows."""
    return f"customer-{next(_numbers)}-{uuid.uuid4().hex[:8]}"


def new_key() -> str:
    """An idempotency key that was never used."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Api:
    """A running API and a client of it with all scopes."""

    url: str
    service: Service
    http: httpx.Client

    def command(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **params: str
    ) -> httpx.Response:
        """Send a command under a key, a new one where none is given."""
        headers = {"Idempotency-Key": key or new_key()}
        return self.http.request(method, path, json=body, headers=headers, params=params or None)

    def post(
        self, path: str, body: Any = None, *, key: str | None = None, **params: str
    ) -> httpx.Response:
        """Post a command."""
        return self.command("POST", path, body, key=key, **params)

    def done(self, path: str, body: Any = None, **params: str) -> dict[str, Any]:
        """The answer to a command that must be accepted."""
        response = self.post(path, body, **params)
        assert response.status_code in (200, 201), response.text
        answer: dict[str, Any] = response.json()
        return answer

    def granted(self, customer: str, amount: int, **fields: Any) -> dict[str, Any]:
        """The answer to a grant."""
        return self.done(f"/v1/customers/{customer}/grants", {"amount": amount, **fields})

    def balance(self, customer: str, asset: str = "credits", **params: str) -> dict[str, Any]:
        """A customer's balance as the events say it now."""
        params = {"asset": asset, "consistency": "exact", **params}
        response = self.http.get(f"/v1/customers/{customer}/balance", params=params)
        assert response.status_code == 200, response.text
        balance: dict[str, Any] = response.json()["balances"][0]
        return balance

    def head(self) -> int:
        """The newest position of the log."""
        return self.service.log.head()

    def prove(self) -> None:
        """What is written is in the read models, and a proof of all of it finds nothing wrong."""
        position = self.head()
        params = {"after_position": str(position)}
        assert self.http.get("/v1/customers/nobody/balance", params=params).status_code == 200
        report = verify_ledger(self.service.url, at=self.service.now())
        assert report.position == position
        assert report.clean, report.differences

    def client_with(self, *scopes: str) -> httpx.Client:
        """Another client, whose key has these scopes only."""
        return _client(self.url, self.service.url, scopes)


@contextmanager
def running_api(
    url: str,
    *,
    read_side: bool = True,
    now: Callable[[], datetime] | None = None,
    **settings: Any,
) -> Iterator[Api]:
    """Serve a migrated database until the block ends, with its projections unless told not to."""
    metrics = Metrics()
    stop = threading.Event()
    settings = {"_env_file": None, **settings}
    with service(Settings(**settings), url, now=now, observe=metrics.commit) as running:
        projections = threading.Thread(target=keep_up, args=(running, stop))
        if read_side:
            projections.start()
        try:
            with serving(running, metrics) as address, _client(address, url, SCOPES) as http:
                yield Api(address, running, http)
        finally:
            stop.set()
            if read_side:
                projections.join()


@contextmanager
def serving(running: Service, metrics: Metrics) -> Iterator[str]:
    """Serve on a port of its own; yield the address."""
    config = uvicorn.Config(
        create_app(running, metrics),
        port=0,
        log_config=None,
        loop="uvloop",
        http=CorkedHttp,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def _client(address: str, database_url: str, scopes: Sequence[str]) -> httpx.Client:
    with connect(database_url, "tests") as connection:
        _, key = create_client(connection, uuid.uuid4().hex, scopes)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=address, headers=headers, timeout=PATIENCE_SECONDS)
