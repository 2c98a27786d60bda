"""Whether a job is at it follows from when it last looked whether to stop."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from creditledger.infra.heartbeat import AGE_SECONDS_MAX, Stop, beat, trouble

MOMENT_SECONDS = 0.2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "heartbeat"


def age(file: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(file, (then, then))


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_who_looks_is_at_it() -> None:
    stop = Stop()
    time.sleep(MOMENT_SECONDS)
    assert stop.silent_seconds() >= MOMENT_SECONDS, "nobody has looked yet"
    assert not stop.is_set()
    assert stop.silent_seconds() < MOMENT_SECONDS
    time.sleep(MOMENT_SECONDS)
    assert stop.silent_seconds() >= MOMENT_SECONDS


def test_who_sleeps_is_not_silent_and_who_has_woken_is_again() -> None:
    stop, woken, done = Stop(), threading.Event(), threading.Event()

    def job() -> None:
        stop.wait(3 * MOMENT_SECONDS)
        woken.set()
        done.wait()

    thread = in_thread(job)
    time.sleep(2 * MOMENT_SECONDS)
    assert stop.silent_seconds() == 0
    assert woken.wait(10)
    time.sleep(MOMENT_SECONDS)
    assert stop.silent_seconds() >= MOMENT_SECONDS
    done.set()
    thread.join()


def test_one_thread_that_hangs_is_seen_beside_one_that_does_not() -> None:
    stop, hanging, done = Stop(), threading.Event(), threading.Event()

    def hang() -> None:
        stop.is_set()
        hanging.set()
        done.wait()

    thread = in_thread(hang)
    assert hanging.wait(10)
    time.sleep(MOMENT_SECONDS)
    stop.is_set()
    assert stop.silent_seconds() >= MOMENT_SECONDS
    done.set()
    thread.join()
    assert stop.silent_seconds() < MOMENT_SECONDS, "a thread that has ended is not waited for"


def test_it_stops_as_any_event_does() -> None:
    stop = Stop()
    assert not stop.wait(0)
    stop.set()
    assert stop.is_set()
    assert stop.wait()


def test_a_file_that_is_touched_says_that_all_is_well(file: Path) -> None:
    assert trouble(file) == f"there is no {file}: the process has not begun"
    beat(file)
    assert trouble(file) is None
    age(file, AGE_SECONDS_MAX - 1)
    assert trouble(file) is None
    age(file, AGE_SECONDS_MAX + 1)
    assert trouble(file) == "no sign of life for 16 s: the process is gone, or a job of it hangs"
    beat(file)
    assert trouble(file) is None


def test_the_command_of_a_health_check(file: Path) -> None:
    command = [sys.executable, "-m", "creditledger.infra.heartbeat", str(file)]
    missing = subprocess.run(command, check=False, capture_output=True, text=True, cwd=file.parent)
    assert missing.returncode == 1
    assert "has not begun" in missing.stderr
    beat(file)
    well = subprocess.run(command, check=False, capture_output=True, text=True, cwd=file.parent)
    assert (well.returncode, well.stdout, well.stderr) == (0, "", "")
