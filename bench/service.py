"""The service under load: a fresh database, both processes, accounts with credits to spend."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psycopg

_COMMAND = Path(sys.executable).with_name("creditledger")
_START_SECONDS = 60.0
_CREDITS_EACH = 1_000_000_000


@dataclass(frozen=True)
class Service:
    """Where it answers, what opens it, and where its data is."""

    url: str
    api_key: str
    dsn: str
    environment: Mapping[str, str]
    pids: Sequence[int]

    def memory(self) -> int:
        """Bytes that its processes have in memory, PostgreSQL not counted."""
        return sum(memory_of(pid) for pid in self.pids)

    def cpu_seconds(self) -> float:
        """Processor time that its processes have used, PostgreSQL not counted."""
        return sum(_cpu_seconds_of(pid) for pid in self.pids)


@contextmanager
def running(dsn: str) -> Iterator[Service]:
    """Migrate the database, start `serve` and `work`, and stop them at the end."""
    port, api_key = free_port(), f"clk_bench_{uuid.uuid4().hex}"
    environment = {
        **os.environ,
        "CREDITLEDGER_DATABASE_URL": dsn,
        "CREDITLEDGER_PORT": str(port),
        "CREDITLEDGER_BOOTSTRAP_API_KEY": api_key,
    }
    subprocess.run([_COMMAND, "migrate"], check=True, env=environment, stdout=subprocess.DEVNULL)
    processes = [_start(name, environment) for name in ("serve", "work")]
    try:
        pids = [process.pid for process in processes]
        service = Service(f"http://127.0.0.1:{port}", api_key, dsn, environment, pids)
        wait_until_ready(service.url, processes)
        yield service
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)


@contextmanager
def another_api(service: Service, **settings: str) -> Iterator[Service]:
    """A second API process on the same database, with these settings besides."""
    port = free_port()
    more = {f"CREDITLEDGER_{name}": value for name, value in settings.items()}
    environment = {**service.environment, "CREDITLEDGER_PORT": str(port), **more}
    process = _start("serve", environment)
    try:
        url = f"http://127.0.0.1:{port}"
        other = replace(service, url=url, environment=environment, pids=[process.pid])
        wait_until_ready(other.url, [process])
        yield other
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _start(name: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # With a parent it says nothing of its own beginning, and ends when the bench does.
    command = [str(_COMMAND), name, "--parent", str(os.getpid())]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def memory_of(pid: int) -> int:
    """Bytes that a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _cpu_seconds_of(pid: int) -> float:
    # Fields 14 and 15 of proc(5); the second one is a name in brackets.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(service: Service, accounts: int, *, first_account: int = 0) -> None:
    """Grant each account, from the first one on, more than the load can spend."""
    with httpx.Client(
        base_url=service.url,
        headers={"Authorization": f"Bearer {service.api_key}"},
        timeout=60,
    ) as http:
        for first in range(first_account, accounts, 1_000):
            commands = [
                {
                    "type": "grant",
                    "idempotency_key": f"fill-{number}",
                    "customer_id": f"bench-{number}",
                    "amount": _CREDITS_EACH,
                }
                for number in range(first, min(first + 1_000, accounts))
            ]
            answer = http.post(
                "/v1/batches",
                json={"commands": commands},
                headers={"Idempotency-Key": f"fill-batch-{first}"},
            )
            answer.raise_for_status()
            refused = [r for r in answer.json()["results"] if r["status"] != 201]
            if refused:
                raise RuntimeError(f"an account could not be filled: {refused[0]}")


def lag(dsn: str) -> int:
    """Events that the slowest projection has yet to see."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT coalesce((SELECT max(notification_id) FROM ledger_events), 0)"
            " - coalesce((SELECT min(position) FROM projections), 0)"
        ).fetchone()
    assert row is not None
    return int(row[0])


def lag_seconds(dsn: str) -> float:
    """How long ago the oldest event was recorded that the slowest projection has yet to see."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM clock_timestamp() - recorded_at) FROM ledger_events"
            " WHERE notification_id > (SELECT min(position) FROM projections)"
            " ORDER BY notification_id LIMIT 1"
        ).fetchone()
    return 0.0 if row is None else float(row[0])


def positions(dsn: str) -> int:
    """How many events the log holds."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("SELECT max(notification_id) FROM ledger_events").fetchone()
    assert row is not None
    return int(row[0] or 0)


def wait_until_caught_up(dsn: str, seconds: float) -> float:
    """How long until no projection lags, in seconds; raises TimeoutError past the limit."""
    started = time.monotonic()
    while lag(dsn) > 0:
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"projections still lag by {lag(dsn)} events after {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - started


def command_seconds(service: Service, *arguments: str) -> float:
    """How long a command of `creditledger` takes, as a whole process."""
    started = time.monotonic()
    subprocess.run(
        [_COMMAND, *arguments],
        check=True,
        env={**os.environ, "CREDITLEDGER_DATABASE_URL": service.dsn},
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - started


def wait_until_ready(url: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until a service answers there. Raises RuntimeError where a process of it has ended."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        for process in processes:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            if httpx.get(f"{url}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"the service was not ready within {_START_SECONDS} s")
        time.sleep(0.1)


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
