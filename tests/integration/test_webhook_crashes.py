"""Workers that are killed between any two steps: nothing is lost, and nothing is booked twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crashing_worker
from creditledger.infra.settings import Settings
from provider_bodies import PRICES
from webhook_desk import FULL_CHARGE, ORDER, PARTIAL_CHARGE, SESSION, Desk, eventually, open_desk

PROGRAM = Path(crashing_worker.__file__)


@pytest.fixture
def desk(database_url: str, settings: Settings) -> Iterator[Desk]:
    with open_desk(database_url, *PRICES, settings=settings) as desk:
        yield desk


@pytest.mark.parametrize("step", crashing_worker.STEPS)
def test_a_worker_that_is_killed_loses_nothing(desk: Desk, step: str) -> None:
    desk.put(SESSION)
    desk.put(ORDER)
    crash(desk, step)
    booked = {"taken": 0, "booked": 1200, "written": 1200}[step]
    assert desk.available() == booked
    desk.put(PARTIAL_CHARGE)
    desk.work_until(lambda: [status for status, _ in desk.statuses()] == ["done"] * 3)
    assert desk.available() == 1200 - 150
    assert [row["tries"] for row in desk.rows()] == [1, 1, 1]
    eventually(lambda: desk.stream.waiting() == 0)


def test_workers_that_are_killed_again_and_again_lose_nothing(desk: Desk) -> None:
    for name, step in ((SESSION, "booked"), (ORDER, "taken"), (FULL_CHARGE, "written")):
        desk.put(name)
        crash(desk, step)
    desk.work_until(lambda: [status for status, _ in desk.statuses()] == ["done"] * 3)
    desk.work_until(lambda: desk.stream.waiting() == 0)
    assert desk.available() == 600


def crash(desk: Desk, step: str) -> None:
    """Let a worker take what is there, and die at this step."""
    said = desk.parts.settings.model_dump(mode="json", exclude_defaults=True)
    command = [sys.executable, str(PROGRAM), step, desk.parts.url, json.dumps(said)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
