"""Large batches wait for the writer's lulls, and nothing else has to wait with them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import Final, TypeVar

import httpx
import pytest

from api_server import PATIENCE_SECONDS, new_key
from creditledger.infra import lulls as module
from creditledger.infra.lulls import Lulls
from provider_bodies import changed
from webhook_caller import Caller
from webhook_desk import SESSION

T = TypeVar("T")

#: More than an event loop has threads of its own, on any machine.
_MANY: Final = 40


def send_batch(caller: Caller) -> httpx.Response:
    """A batch that is too large to be read at once."""
    command = {"type": "grant", "customer_id": "acme", "amount": 1, "metadata": {"why": "x" * 400}}
    commands = [{**command, "idempotency_key": new_key()} for _ in range(50)]
    return caller.api.post("/v1/batches", {"commands": commands})


def test_others_are_served_while_many_large_batches_wait(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = Semaphore(0)
    wait_and_run = Lulls.run

    def run(lulls: Lulls, work: Callable[[], T]) -> T:
        arrived.release()
        return wait_and_run(lulls, work)

    monkeypatch.setattr(Lulls, "run", run)
    monkeypatch.setattr(module, "_WAIT_SECONDS_MAX", PATIENCE_SECONDS)
    lulls = caller.api.service.writer.lulls
    with ThreadPoolExecutor(_MANY) as senders:
        lulls.end()
        sent = [senders.submit(send_batch, caller) for _ in range(_MANY)]
        try:
            assert arrived.acquire(timeout=PATIENCE_SECONDS)
            for n in range(5):
                kept = caller.stripe(changed(SESSION, {"id": f"evt_{n}"}))
                assert kept.status_code == 202
                assert caller.get("/v1/events?limit=1")["events"] == []
            assert not any(batch.done() for batch in sent)
            assert not arrived.acquire(blocking=False), "one is worked on at a time"
        finally:
            lulls.begin()
        answers = [batch.result(PATIENCE_SECONDS) for batch in sent]
    assert [answer.status_code for answer in answers] == [200] * _MANY
    assert caller.available("acme") == 50 * _MANY
