"""Reconciliation by itself: when it runs, how far it looks, and what a failure does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from polar.v2026_10.client import SERVERS
from pydantic import SecretStr

from api_server import running_api
from creditledger.infra.database import connect
from creditledger.infra.provider_lists import Passed, ProviderAway, Window
from creditledger.infra.reconciliation import Tally
from creditledger.infra.reconciliation_record import OVERLAP, Progress, Record
from creditledger.infra.reconciliation_schedule import reconcile_until
from creditledger.infra.settings import Settings
from loopback import Answer
from polar_server import DUNLIN, TOKEN, Polar
from set_clock import Clock
from webhook_desk import Desk, eventually

BEGAN = datetime(2026, 8, 10, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def polar(polar: Polar, monkeypatch: pytest.MonkeyPatch) -> Polar:
    """Where Polar's sandbox is looked for."""
    monkeypatch.setitem(SERVERS, "sandbox", polar.url)
    return polar


def record(desk: Desk, clock: Callable[[], datetime], environment: Any = "sandbox") -> Record:
    return Record(desk.parts.pool, "polar", environment, now=clock)


@contextmanager
def scheduled(desk: Desk, clock: Callable[[], datetime], **settings: Any) -> Iterator[Thread]:
    """A worker that reconciles."""
    stop = Event()
    settings = {"polar_access_token": SecretStr(TOKEN), **settings}
    parts = desk.parts

    def run() -> None:
        reconcile_until(
            *(stop, Settings(**settings), parts.url, parts.pool, parts.stream),
            now=clock,
            look_seconds=0.02,
        )

    thread = Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def succeeded(desk: Desk, at: datetime) -> Callable[[], bool]:
    return lambda: record(desk, lambda: at).progress().succeeded_at == at


class TestTheSchedule:
    def test_what_was_sold_before_it_began_is_left_and_the_rest_is_brought_in(
        self, desk: Desk, polar: Polar
    ) -> None:
        clock = Clock(BEGAN)
        polar.orders[0].update(created_at="2026-08-09T23:59:59Z")
        polar.disputes.clear()
        with scheduled(desk, clock):
            eventually(succeeded(desk, BEGAN))
            clock.now = BEGAN + 20 * DAY
            eventually(succeeded(desk, BEGAN + 20 * DAY))
        desk.work_off()
        assert desk.available(DUNLIN) == 400

    def test_the_next_run_comes_after_the_interval_and_looks_back_over_the_overlap(
        self, desk: Desk, polar: Polar
    ) -> None:
        clock = Clock(BEGAN)
        with scheduled(desk, clock, reconcile_interval_hours=48):
            eventually(succeeded(desk, BEGAN))
            asked = len(polar.asked)
            clock.now = BEGAN + 2 * DAY - timedelta(seconds=1)
            assert not _comes_true(lambda: len(polar.asked) > asked)
            clock.now = BEGAN + 10 * DAY
            eventually(succeeded(desk, BEGAN + 10 * DAY))
            progress = record(desk, clock).progress()
        assert progress.window(clock.now) == Window(clock.now - OVERLAP, clock.now)
        assert progress.covered_from == BEGAN

    def test_a_failure_is_recorded_and_tried_again_within_the_hour(
        self, desk: Desk, polar: Polar
    ) -> None:
        clock = Clock(BEGAN)
        with scheduled(desk, clock):
            eventually(succeeded(desk, BEGAN))
            polar.faults.append(Answer(429, "", {"Retry-After": "900"}))
            clock.now = BEGAN + DAY
            eventually(lambda: record(desk, clock).progress().error is not None)
            failed = record(desk, clock).progress()
            assert failed.error is not None
            assert "429" in failed.error
            assert failed.succeeded_at == BEGAN
            clock.now += timedelta(hours=1)
            eventually(succeeded(desk, BEGAN + DAY + timedelta(hours=1)))
        assert record(desk, clock).progress().error is None

    def test_a_list_that_may_not_be_read_is_a_failure(self, desk: Desk, polar: Polar) -> None:
        clock = Clock(BEGAN)
        polar.forbidden.add("/v1/disputes/")
        with scheduled(desk, clock):
            eventually(lambda: record(desk, clock).progress().error is not None)
        progress = record(desk, clock).progress()
        assert "disputes" in str(progress.error)
        assert progress.succeeded_at is None

    @pytest.mark.parametrize(
        "settings", [{"polar_access_token": None}, {"reconcile_interval_hours": 0}]
    )
    def test_without_a_key_or_an_interval_nobody_is_asked(
        self, desk: Desk, polar: Polar, settings: dict[str, Any]
    ) -> None:
        with scheduled(desk, Clock(BEGAN), **settings) as thread:
            assert not _comes_true(lambda: bool(polar.asked))
            assert thread.is_alive()

    def test_while_another_process_reconciles_this_one_does_not(
        self, desk: Desk, polar: Polar
    ) -> None:
        lock = "SELECT pg_advisory_lock(hashtextextended(current_schema() || %s, 0))"
        with connect(desk.parts.url, "tests") as other:
            other.execute(lock, ("/reconcile/polar",))
            with scheduled(desk, Clock(BEGAN)):
                assert not _comes_true(lambda: bool(polar.asked))
                other.close()
                eventually(lambda: bool(polar.asked))

    def test_it_stops_at_once_in_the_middle_of_a_wait(self, desk: Desk, polar: Polar) -> None:
        polar.faults.append(Answer(429, "", {"Retry-After": "50"}))
        with scheduled(desk, Clock(BEGAN)):
            eventually(lambda: bool(polar.asked))

    def test_a_worker_survives_a_provider_that_answers_nonsense(
        self, desk: Desk, polar: Polar, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock(BEGAN)
        monkeypatch.setattr(polar, "respond", lambda asked: Answer(body={"items": [None]}))
        with scheduled(desk, clock) as thread:
            eventually(lambda: record(desk, clock).progress().error is not None)
            monkeypatch.undo()
            monkeypatch.setitem(SERVERS, "sandbox", polar.url)
            clock.now += timedelta(hours=1)
            eventually(succeeded(desk, clock.now))
            assert thread.is_alive()


def _comes_true(holds: Callable[[], bool], seconds: float = 0.3) -> bool:
    try:
        eventually(holds, seconds)
    except AssertionError:
        return False
    return True


class TestTheRecord:
    def run(self, kept: Record, window: Window, *passed: Passed) -> Progress:
        tally = Tally()
        tally.passed.extend(passed)
        with kept.run(window, tally):
            tally.read["orders"] += 5
            tally.brought["orders"] = ["whd_1", "whd_2"]
        return kept.progress()

    def test_objects_are_counted_over_all_runs(self, desk: Desk) -> None:
        kept = record(desk, Clock(BEGAN))
        self.run(kept, Window(BEGAN - DAY, BEGAN))
        progress = self.run(kept, Window(BEGAN - DAY, BEGAN))
        assert (progress.objects_read, progress.objects_brought) == (10, 4)

    def test_a_run_by_hand_may_reach_further_back(self, desk: Desk) -> None:
        kept = record(desk, Clock(BEGAN))
        kept.progress()
        progress = self.run(kept, Window(BEGAN - 90 * DAY, BEGAN))
        assert progress.covered_from == BEGAN - 90 * DAY
        assert progress.succeeded_at == BEGAN

    def test_a_run_that_leaves_a_gap_does_not_count_as_the_last(self, desk: Desk) -> None:
        clock = Clock(BEGAN)
        kept = record(desk, clock)
        self.run(kept, Window(BEGAN - DAY, BEGAN))
        clock.now = BEGAN + 30 * DAY
        progress = self.run(kept, Window(BEGAN + 20 * DAY, clock.now))
        assert progress.succeeded_at == BEGAN

    def test_an_old_run_does_not_take_success_back(self, desk: Desk) -> None:
        kept = record(desk, Clock(BEGAN))
        self.run(kept, Window(BEGAN - DAY, BEGAN))
        progress = self.run(kept, Window(BEGAN - 9 * DAY, BEGAN - 8 * DAY))
        assert progress.succeeded_at == BEGAN

    def test_one_object_that_cannot_be_read_holds_nothing_up(self, desk: Desk) -> None:
        unread = Passed(kind="orders", name="order-1", detail="its time is 5")
        progress = self.run(record(desk, Clock(BEGAN)), Window(BEGAN - DAY, BEGAN), unread)
        assert (progress.error, progress.succeeded_at) == (None, BEGAN)

    def test_what_ends_a_run_is_recorded(self, desk: Desk) -> None:
        kept = record(desk, Clock(BEGAN))
        with (
            pytest.raises(ProviderAway),
            kept.run(Window(BEGAN - DAY, BEGAN), Tally()),
        ):
            raise ProviderAway("no network")
        assert kept.progress().error == "no network"
        with (
            pytest.raises(KeyboardInterrupt),
            kept.run(Window(BEGAN - DAY, BEGAN), Tally()),
        ):
            raise KeyboardInterrupt
        assert kept.progress().error == "stopped in the middle"

    def test_environments_are_apart(self, desk: Desk) -> None:
        self.run(record(desk, Clock(BEGAN)), Window(BEGAN - DAY, BEGAN))
        assert record(desk, Clock(BEGAN), "production").progress().succeeded_at is None


def test_the_metrics_tell_how_far_it_has_come(database_url: str) -> None:
    with running_api(database_url, read_side=False) as api:
        pool = api.service.pool
        for environment, count in (("sandbox", 7), ("production", 9)):
            kept = Record(pool, "polar", environment, now=lambda: BEGAN)  # type: ignore[arg-type]
            tally = Tally()
            with kept.run(Window(BEGAN - DAY, BEGAN), tally):
                tally.read["orders"] += count
        told = httpx.get(f"{api.url}/metrics").text
    figures = dict(line.rsplit(" ", 1) for line in told.splitlines() if not line.startswith("#"))
    name = "creditledger_reconciliation"
    at = figures[f'{name}_succeeded_timestamp_seconds{{provider="polar"}}']
    assert datetime.fromtimestamp(float(at), UTC) == BEGAN
    assert float(figures[f'{name}_objects{{provider="polar",which="read"}}']) == 7
    assert float(figures[f'{name}_failing{{provider="polar"}}']) == 0
