"""What waits on the stream is told soon, whatever the stream does, and truly."""

from __future__ import annotations

import asyncio
from threading import Event
from time import monotonic

import pytest

from creditledger.api.stream_desk import ANSWER_SECONDS_MAX, SEEN_SECONDS_MAX, Seen, StreamDesk
from creditledger.domain.store import Unavailable
from set_clock import Clock

pytestmark = pytest.mark.anyio

SILENT = Seen(None, "the stream has not answered for 0.5 s")


class Stream:
    """Answers as it is told to, or hangs until it is let go; counts how often it is asked."""

    def __init__(self) -> None:
        self.answer: int | Exception = 0
        self.let_go = Event()
        self.let_go.set()
        self.asked = 0

    def waiting(self) -> int:
        self.asked += 1
        assert self.let_go.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def ended(stream: Stream, desk: StreamDesk) -> None:
    """Let the look end that hangs."""
    stream.let_go.set()
    while desk._look is not None:
        await asyncio.sleep(0.01)


async def test_a_stream_that_answers_is_looked_at_for_each_who_asks() -> None:
    stream = Stream()
    desk = StreamDesk(stream.waiting)
    for waiting in (0, 1, 2):
        stream.answer = waiting
        assert await desk.seen() == Seen(waiting)
    stream.answer = Unavailable("no broker\nat all")
    assert await desk.seen() == Seen(None, "no broker")


async def test_where_it_hangs_all_who_ask_are_told_soon_by_one_look() -> None:
    stream = Stream()
    desk = StreamDesk(stream.waiting)
    stream.let_go.clear()

    began = monotonic()
    told = await asyncio.gather(*(desk.seen() for _ in range(50)))

    assert ANSWER_SECONDS_MAX <= monotonic() - began < 2 * ANSWER_SECONDS_MAX
    assert set(told) == {SILENT}
    assert stream.asked == 1
    await ended(stream, desk)


async def test_what_was_seen_just_before_is_told_meanwhile_and_nothing_older() -> None:
    stream, clock = Stream(), Clock(0.0)
    desk = StreamDesk(stream.waiting, clock)
    stream.answer = 3
    assert await desk.seen() == Seen(3)
    stream.let_go.clear()
    clock.now = SEEN_SECONDS_MAX
    assert await desk.seen() == Seen(3)
    clock.now = SEEN_SECONDS_MAX + 0.001
    assert await desk.seen() == SILENT
    await ended(stream, desk)


async def test_what_a_look_found_that_nobody_waited_for_is_told_next() -> None:
    stream = Stream()
    desk = StreamDesk(stream.waiting)
    stream.answer = Unavailable("no broker")
    stream.let_go.clear()
    assert await desk.seen() == SILENT
    await ended(stream, desk)
    stream.let_go.clear()
    assert await desk.seen() == Seen(None, "no broker")
    stream.answer = 7
    await ended(stream, desk)
    assert await desk.seen() == Seen(7)


async def test_who_goes_away_takes_no_look_from_the_others() -> None:
    stream = Stream()
    desk = StreamDesk(stream.waiting)
    stream.let_go.clear()
    one, other = (asyncio.create_task(desk.seen()) for _ in range(2))
    await asyncio.sleep(0.05)
    one.cancel()
    await asyncio.sleep(0)
    stream.let_go.set()
    assert await other == Seen(0)
    assert one.cancelled()
