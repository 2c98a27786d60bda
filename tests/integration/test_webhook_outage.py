"""The edge where PostgreSQL hangs or is away: 503 within seconds, and nothing piles up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from creditledger.infra.embedded_postgres import embedded_postgres
from creditledger.infra.intake import ANSWER_SECONDS_MAX
from creditledger.infra.migrate import migrate
from provider_bodies import changed
from webhook_caller import Caller, assert_problem, calling
from webhook_desk import SESSION, eventually

pytestmark = [pytest.mark.slow, pytest.mark.alone]

#: Answers may take this much longer than their limit on a machine that is busy.
_SLACK_SECONDS = 5.0


def postmaster(folder: Path) -> int:
    return int((folder / "pg18" / "postmaster.pid").read_text().splitlines()[0])


@contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """Nothing of PostgreSQL moves in the block; what reaches it waits."""
    first = postmaster(folder)
    os.kill(first, signal.SIGSTOP)
    everyone = [first, *children(first)]
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)


def children(parent: int) -> list[int]:
    """The processes that this one has started."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = file.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent:
                found.append(int(file.parent.name))
    return found


def numbered(n: int) -> bytes:
    return changed(SESSION, {"id": f"evt_{n}"})


def refused_in_time(caller: Caller, count: int) -> None:
    """So many deliveries at once are all answered 503, and soon."""
    bodies = [numbered(n) for n in range(count)]
    began = monotonic()
    with ThreadPoolExecutor(count) as threads:
        for answer in threads.map(caller.stripe, bodies):
            assert_problem(answer, 503, "unavailable")
    assert monotonic() - began < ANSWER_SECONDS_MAX + _SLACK_SECONDS


def test_a_database_that_hangs_and_one_that_is_gone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with embedded_postgres(tmp_path) as url:
            migrate(url)
            caller = stack.enter_context(calling(url, working=False))
            assert caller.stripe(SESSION).status_code == 202
            with frozen(tmp_path):
                refused_in_time(caller, 40)
                refused_in_time(caller, 40)
            eventually(lambda: caller.stripe(numbered(1000)).status_code == 202)
            os.killpg(postmaster(tmp_path), signal.SIGKILL)
            refused_in_time(caller, 40)
        stack.enter_context(embedded_postgres(tmp_path))
        eventually(lambda: caller.stripe(numbered(1001)).status_code == 202)
        known = {row["provider_delivery_id"] for row in caller.deliveries(limit="200")}
        assert {"evt_1000", "evt_1001"} <= known
