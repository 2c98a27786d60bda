"""A process that is frozen between deciding and saving, while another one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import frozen_writer
from api_server import Api, running_api
from commit_story import deduct, grant, wish
from creditledger.domain.receipt import ACCEPTED, Receipt, Wish
from frozen_writer import WISHED

#: Whoever is silent for three seconds in a turn loses it; the rest is for a machine that is busy.
WRITE_SECONDS_MAX = 8.0
READ_SECONDS_MAX = 2.0


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with running_api(database_url) as api:
        yield api


def done(api: Api, wished: Wish) -> Receipt:
    """What is told of a wish that is decided soon."""
    began = monotonic()
    told = api.service.writer.submit(wished).result(WRITE_SECONDS_MAX)
    assert monotonic() - began < WRITE_SECONDS_MAX
    assert isinstance(told, Receipt), told
    return told


def available(api: Api, **params: str) -> int:
    began = monotonic()
    response = api.http.get("/v1/customers/ada/balance", params=params)
    assert monotonic() - began < READ_SECONDS_MAX
    return int(response.json()["balances"][0]["available"])


@contextmanager
def frozen(url: str, way: str) -> Iterator[subprocess.Popen[str]]:
    """The other process, when it has decided."""
    program = str(Path(frozen_writer.__file__))
    with subprocess.Popen(
        [sys.executable, program, url, way], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), "it has ended before it was to be frozen"
            yield process
        finally:
            process.kill()


def let_go_on(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it was told, when it is let go on."""
    process.send_signal(signal.SIGCONT)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return dict(json.loads(told))


@pytest.mark.parametrize("way", frozen_writer.WAYS)
@pytest.mark.parametrize(
    ("spent", "outcome", "left"), [(70, "insufficient_credits", 30), (40, ACCEPTED, 0)]
)
def test_what_it_had_decided_is_decided_again_on_what_was_written_meanwhile(
    api: Api, way: str, spent: int, outcome: str, left: int
) -> None:
    granted = done(api, wish("grant", grant("ada", 100)))
    with frozen(api.service.url, way) as process:
        assert available(api, consistency="exact") == 100
        assert available(api, after_position=str(granted.position)) == 100
        assert done(api, wish("meanwhile", deduct("ada", spent))).outcome == ACCEPTED
        assert available(api, consistency="exact") == 100 - spent

        told = let_go_on(process)

    assert (told["outcome"], told["replayed"]) == (outcome, False)
    if outcome != ACCEPTED:
        assert told["available"] == 100 - spent
    assert available(api, consistency="exact") == left
    api.prove()


@pytest.mark.parametrize("way", frozen_writer.WAYS)
def test_a_key_that_was_used_meanwhile_is_told_again(api: Api, way: str) -> None:
    done(api, wish("grant", grant("ada", 100)))
    with frozen(api.service.url, way) as process:
        first = done(api, WISHED)

        told = let_go_on(process)

    assert (first.outcome, first.replayed) == (ACCEPTED, False)
    assert (told["outcome"], told["replayed"]) == (ACCEPTED, True)
    assert told["deduction_id"] == first.answer["deduction_id"]
    assert available(api, consistency="exact") == 40
    api.prove()
