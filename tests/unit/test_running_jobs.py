"""The jobs of `creditledger work` end together, whenever they are interrupted."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from creditledger.api import jobs
from creditledger.api.jobs import Job, run_jobs


def test_an_interruption_while_they_are_started_ends_those_that_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()

    def first(_service: object, stop: threading.Event) -> None:
        stop.wait()
        ended.set()

    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == Job.SWEEPER.value:
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(jobs, "_DOING", {Job.PROJECTIONS: first, Job.SWEEPER: first})
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    nothing: Any = None
    with pytest.raises(KeyboardInterrupt):
        run_jobs(nothing, [Job.PROJECTIONS, Job.SWEEPER])
    assert ended.is_set()
