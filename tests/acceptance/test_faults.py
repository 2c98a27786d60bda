"""What is killed under load comes back, and the log says what the clients were told."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from creditledger.infra.embedded_postgres import embedded_postgres
from creditledger.infra.migrate import migrate
from pressure import Clients, recorded_as_told, recorded_once_or_never, totals_as_told
from processes import API_KEY, COMMAND, Process

pytestmark = pytest.mark.slow

_PRESS_SECONDS = 3.0
_OUTAGE_SECONDS = 1.5

#: Longer than the service waits for a database before it says that there is none.
_DATABASE_OUTAGE_SECONDS = 5.0


@contextmanager
def _pressed(urls: list[str]) -> Iterator[Clients]:
    clients = Clients(urls, API_KEY, threads=8, customers=4)
    clients.start()
    try:
        yield clients
    finally:
        clients.stop()


def _hold_to_account(database_url: str, clients: Clients) -> None:
    assert sum(one.is_definite and one.is_accepted for one in clients.wished) > 100
    recorded_once_or_never(database_url, clients.wished)
    clients.settle()
    recorded_as_told(database_url, clients.wished)
    totals_as_told(database_url, clients.wished)
    environment = {**os.environ, "CREDITLEDGER_DATABASE_URL": database_url}
    verified = subprocess.run(
        [COMMAND, "verify"], env=environment, capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _kill_postgres(folder: Path) -> None:
    pid = int((folder / "pg18" / "postmaster.pid").read_text().splitlines()[0])
    os.killpg(pid, signal.SIGKILL)


def test_postgres_killed_under_load(tmp_path: Path) -> None:
    """No acknowledged command is lost, none happens twice, and the service recovers by itself."""
    data = tmp_path / "data"
    with ExitStack() as stack:
        with embedded_postgres(data) as database_url:
            migrate(database_url)
            service = stack.enter_context(Process("serve", database_url, tmp_path))
            clients = stack.enter_context(_pressed([service.url]))
            time.sleep(_PRESS_SECONDS)
            _kill_postgres(data)
            time.sleep(_DATABASE_OUTAGE_SECONDS)
        with embedded_postgres(data) as again:
            assert again == database_url
            time.sleep(_PRESS_SECONDS)
            before = sum(one.is_definite for one in clients.wished)
            time.sleep(_PRESS_SECONDS)
            clients.stop()
            assert sum(one.is_definite for one in clients.wished) > before, "it did not recover"
            assert any(503 in one.told for one in clients.wished), "nobody noticed the outage"
            _hold_to_account(database_url, clients)
            service.stop()


def test_service_killed_under_load(database_url: str, tmp_path: Path) -> None:
    """What was acknowledged is there; retries with their keys find out about the rest."""
    with Process("serve", database_url, tmp_path) as service:
        with _pressed([service.url]) as clients:
            for _ in range(2):
                time.sleep(_PRESS_SECONDS)
                service.kill()
                time.sleep(_OUTAGE_SECONDS)
                service.start()
            time.sleep(_PRESS_SECONDS)
        assert any(None in one.told for one in clients.wished), "nobody noticed the kills"
        _hold_to_account(database_url, clients)
        service.stop()


def test_two_processes_on_the_same_accounts(database_url: str, tmp_path: Path) -> None:
    """Conflicts are decided again: both processes tell the truth."""
    with (
        Process("serve", database_url, tmp_path) as first,
        Process("serve", database_url, tmp_path) as second,
    ):
        with _pressed([first.url, second.url]) as clients:
            time.sleep(2 * _PRESS_SECONDS)
        _hold_to_account(database_url, clients)
        first.stop()
        second.stop()


def test_a_key_sent_to_both_processes_is_decided_once(database_url: str, tmp_path: Path) -> None:
    """The second process finds the first's receipt, and tells its answer."""
    headers = {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": "once"}
    answers = []
    with (
        Process("serve", database_url, tmp_path) as one,
        Process("serve", database_url, tmp_path) as other,
    ):
        for service in (one, other):
            url = f"{service.url}/v1/customers/ada/grants"
            answers.append(httpx.post(url, json={"amount": 5}, headers=headers))
    first, second = answers
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
