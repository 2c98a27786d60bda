"""`creditledger work` with some of its jobs alone, as the services of docker-compose.yml run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from creditledger.infra.database import connect
from creditledger.infra.heartbeat import AGE_SECONDS_MAX, trouble

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 60.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "heartbeat"


@contextmanager
def working(database_url: str, file: Path, *jobs: str) -> Iterator[subprocess.Popen[bytes]]:
    command = Path(sys.executable).with_name("creditledger")
    process = subprocess.Popen(
        [command, "work", *jobs, "--heartbeat", file],
        env={**os.environ, "CREDITLEDGER_DATABASE_URL": database_url},
        cwd=file.parent,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(PATIENCE_SECONDS)


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


def sessions(database_url: str) -> set[str]:
    """Which jobs have a session of their own in the database."""
    with connect(database_url, "tests") as looking:
        rows = looking.execute(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        )
        names = {str(name) for (name,) in rows}
    return names & {"creditledger projections", "creditledger webhooks"}


def test_the_named_jobs_run_and_no_others(database_url: str, file: Path) -> None:
    for job in ("projections", "webhooks"):
        with working(database_url, file, job) as process:
            eventually(lambda job=job: sessions(database_url) == {f"creditledger {job}"})  # type: ignore[misc]
            # Long enough for another job to show, were there one.
            time.sleep(1)
            assert sessions(database_url) == {f"creditledger {job}"}
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0
        eventually(lambda: not sessions(database_url))


def test_all_jobs_run_where_none_is_named(database_url: str, file: Path) -> None:
    with working(database_url, file):
        eventually(lambda: len(sessions(database_url)) == 2)


def test_a_frozen_process_is_told_from_one_that_works(database_url: str, file: Path) -> None:
    with working(database_url, file, "projections") as process:
        eventually(lambda: trouble(file) is None)
        process.send_signal(signal.SIGSTOP)
        then = time.time() - AGE_SECONDS_MAX - 1
        os.utime(file, (then, then))
        time.sleep(3)
        assert "no sign of life" in (trouble(file) or "")
        process.send_signal(signal.SIGCONT)
        eventually(lambda: trouble(file) is None)


def test_a_publisher_without_kafka_is_refused(database_url: str, file: Path) -> None:
    with working(database_url, file, "publisher") as process:
        assert process.wait(PATIENCE_SECONDS) == 1
    assert not file.exists()
