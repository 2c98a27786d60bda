"""Work is left for the lulls of the writer, but not for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from creditledger.infra import lulls as module
from creditledger.infra.lulls import Lulls

_PATIENCE_SECONDS = 10.0


@pytest.fixture
def lulls(monkeypatch: pytest.MonkeyPatch) -> Lulls:
    """Lulls that are waited for as long as it takes."""
    monkeypatch.setattr(module, "_WAIT_SECONDS_MAX", _PATIENCE_SECONDS)
    return Lulls()


@contextmanager
def left(lulls: Lulls) -> Iterator[Future[str]]:
    """Some work of another thread, which has had time to be done if nothing held it up."""
    with ThreadPoolExecutor(1) as thread:
        begun = threading.Event()
        thread.submit(begun.set)
        work = thread.submit(lulls.run, lambda: "done")
        assert begun.wait(_PATIENCE_SECONDS)
        with pytest.raises(TimeoutError):
            work.result(0.05)
        yield work


def test_where_the_writer_has_nothing_to_do_work_is_done_at_once(lulls: Lulls) -> None:
    assert lulls.run(lambda: "done") == "done"


def test_work_waits_until_the_writer_has_nothing_to_do(lulls: Lulls) -> None:
    lulls.end()
    with left(lulls) as work:
        lulls.begin()
        assert work.result(_PATIENCE_SECONDS) == "done"


def test_work_is_done_while_the_writer_waits_for_something(lulls: Lulls) -> None:
    lulls.end()
    with left(lulls) as work, lulls.during():
        assert work.result(_PATIENCE_SECONDS) == "done"


@pytest.mark.parametrize("fails", [False, True])
def test_after_its_wait_the_writer_is_at_work_again(lulls: Lulls, *, fails: bool) -> None:
    try:
        with lulls.during():
            if fails:
                raise ConnectionError
    except ConnectionError:
        pass
    with left(lulls):
        lulls.begin()


def test_work_is_done_where_no_lull_comes_either(
    lulls: Lulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT_SECONDS_MAX", 0.01)
    lulls.end()
    assert lulls.run(lambda: "done") == "done"


def test_what_goes_wrong_with_the_work_is_told(lulls: Lulls) -> None:
    with pytest.raises(ZeroDivisionError):
        lulls.run(lambda: 1 // 0)
