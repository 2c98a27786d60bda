"""Queries that take their time keep no provider waiting."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any, Final

import pytest

from api_server import PATIENCE_SECONDS
from creditledger.infra.event_log import EventLog
from provider_bodies import changed
from webhook_caller import Caller
from webhook_desk import SESSION

#: The threads that an event loop has of its own: see `concurrent.futures.ThreadPoolExecutor`.
_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)


def test_deliveries_are_kept_while_queries_have_all_threads(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, go_on = Semaphore(0), Event()
    read = EventLog.read

    def slowly(*arguments: Any, **options: Any) -> Any:
        arrived.release()
        assert go_on.wait(PATIENCE_SECONDS)
        return read(*arguments, **options)

    monkeypatch.setattr(EventLog, "read", slowly)
    with ThreadPoolExecutor(2 * _THREADS) as readers:
        asked = [readers.submit(caller.get, "/v1/events?limit=1") for _ in range(2 * _THREADS)]
        try:
            for _ in range(_THREADS):
                assert arrived.acquire(timeout=PATIENCE_SECONDS)
            for n in range(5):
                kept = caller.stripe(changed(SESSION, {"id": f"evt_{n}"}))
                assert kept.status_code == 202
            assert not any(answer.done() for answer in asked)
        finally:
            go_on.set()
        assert all(answer.result(PATIENCE_SECONDS)["events"] == [] for answer in asked)
