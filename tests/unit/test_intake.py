"""Deliveries that arrive together are kept together, and nobody is told so before they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from time import monotonic

import pytest

from creditledger.domain.store import Unavailable
from creditledger.infra.delivery import Delivery
from creditledger.infra.intake import KEPT_AT_ONCE, Intake
from stream_ends import delivery

pytestmark = pytest.mark.anyio


class Kept:
    """What was kept, in batches; `open` lets the next go on, `fail` decides on faults."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = Event()
        self.open.set()
        self.fail: Callable[[list[str]], None] = lambda _: None

    def put(self, *deliveries: Delivery) -> None:
        assert self.open.wait(10)
        names = [delivery.provider_delivery_id for delivery in deliveries]
        self.fail(names)
        self.batches.append(names)

    @property
    def all(self) -> list[str]:
        return [name for batch in self.batches for name in batch]


@pytest.fixture
def kept() -> Kept:
    return Kept()


def arriving(intake: Intake, *names: str) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(intake.keep(delivery(name))) for name in names]


async def outcomes(tasks: list[asyncio.Task[None]]) -> list[str | None]:
    """What each was told: nothing, or the kind of its error."""
    told = await asyncio.gather(*tasks, return_exceptions=True)
    return [None if error is None else type(error).__name__ for error in told]


def unavailable(_: list[str]) -> None:
    raise Unavailable("nobody answers")


async def test_those_that_arrive_together_are_kept_together_in_order(kept: Kept) -> None:
    intake = Intake(kept.put)
    names = [f"evt_{n}" for n in range(KEPT_AT_ONCE + 7)]
    assert await outcomes(arriving(intake, *names)) == [None] * len(names)
    assert [len(batch) for batch in kept.batches] == [KEPT_AT_ONCE, 7]
    assert kept.all == names


async def test_nobody_is_told_before_it_is_kept(kept: Kept) -> None:
    kept.open.clear()
    intake = Intake(kept.put)
    first = arriving(intake, "evt_1")
    await asyncio.sleep(0.05)
    later = arriving(intake, "evt_2", "evt_3")
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in first + later)
    kept.open.set()
    assert await outcomes(first + later) == [None] * 3
    assert kept.batches == [["evt_1"], ["evt_2", "evt_3"]]


async def test_nobody_queues_up_for_what_cannot_be_reached(kept: Kept) -> None:
    kept.open.clear()
    kept.fail = unavailable
    intake = Intake(kept.put)
    first = arriving(intake, "evt_1")
    await asyncio.sleep(0.05)
    later = arriving(intake, "evt_2", "evt_3")
    await asyncio.sleep(0.05)
    kept.open.set()
    assert await outcomes(first + later) == ["Unavailable"] * 3
    kept.fail = lambda _: None
    assert await outcomes(arriving(intake, "evt_4")) == [None]
    assert kept.all == ["evt_4"]


async def test_one_that_cannot_be_kept_does_not_hinder_the_others(kept: Kept) -> None:
    def fail(names: list[str]) -> None:
        if "evt_2" in names:
            raise ValueError("evt_2 is strange")

    kept.fail = fail
    told = await outcomes(arriving(Intake(kept.put), "evt_1", "evt_2", "evt_3"))
    assert told == [None, "ValueError", None]
    assert kept.all == ["evt_1", "evt_3"]


async def test_what_hangs_is_told_in_time_and_not_kept_later(kept: Kept) -> None:
    kept.open.clear()
    intake = Intake(kept.put, answer_seconds_max=0.2)
    first = arriving(intake, "evt_1")
    await asyncio.sleep(0.05)
    later = arriving(intake, "evt_2")
    began = monotonic()
    assert await outcomes(first + later) == ["Unavailable"] * 2
    assert monotonic() - began < 2
    kept.open.set()
    assert await outcomes(arriving(intake, "evt_3")) == [None]
    # What was under way may be kept all the same; nobody waits for the other any more.
    assert kept.all == ["evt_1", "evt_3"]


async def test_what_waits_takes_so_much_memory_and_no_more(kept: Kept) -> None:
    kept.open.clear()
    size = len(delivery("evt_1").body)
    intake = Intake(kept.put, waiting_bytes_max=3 * size)
    waiting = arriving(intake, "evt_1", "evt_2", "evt_3")
    await asyncio.sleep(0.05)
    assert await outcomes(arriving(intake, "evt_4")) == ["Unavailable"]
    kept.open.set()
    assert await outcomes(waiting) == [None] * 3
    assert await outcomes(arriving(intake, "evt_5", "evt_6", "evt_7")) == [None] * 3
    assert "evt_4" not in kept.all
