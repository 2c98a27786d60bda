"""Group commit: commands that arrive together are decided and saved together.

One thread takes what has queued up, has it decided and saved in one transaction, and answers each
caller; meanwhile the next ones queue up. Nobody is answered before the commit.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from time import monotonic
from typing import Final, Protocol, Self

from creditledger.domain.receipt import Batch, Outcome, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.lulls import Lulls

_LOG = logging.getLogger(__name__)

#: Commands that may wait: some seconds' work, so that whoever waits is still there when it is done.
QUEUE_LIMIT: Final = 10_000

#: Commands in one transaction: past some hundred, more of them only make the first ones wait.
BATCH_LIMIT: Final = 1_000

#: How long a caller waits for an answer; more than the store's own time limits together.
ANSWER_SECONDS_MAX: Final = 30.0

#: How long `close` lets what has queued up be decided.
CLOSE_SECONDS_MAX: Final = 10.0

_RETRY_AFTER_SECONDS_MAX: Final = 30

#: How often the queue is searched for callers that have waited too long.
_WATCH_SECONDS: Final = 0.5


class Overloaded(Exception):
    """The command was not tried: too many wait already, or the service is stopping."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"nothing was tried; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class Decider(Protocol):
    """What decides and saves: the ledger."""

    def ready(self, ahead: Sequence[Wish | Batch] = ()) -> AbstractContextManager[None]:
        """When it may; the items are collected in this block, `ahead` are the first of them.

        Raises Unavailable.
        """

    def handle(self, items: Sequence[Wish | Batch]) -> Sequence[Outcome]:
        """One outcome for each item, saved; raises Unavailable where that is not known."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction did, for metrics; `waited_seconds` is that of its first command."""

    commands: int
    waited_seconds: float
    seconds: float
    succeeded: bool


@dataclass(slots=True, eq=False)
class _Waiting:
    """An item and whoever waits for its outcome, in an event loop or in a thread."""

    item: Wish | Batch
    commands: int
    since: float
    loop: asyncio.AbstractEventLoop | None
    reply: asyncio.Future[Outcome] | Future[Outcome]

    def begin(self) -> bool:
        """Whether anybody still waits; a thread's future can be cancelled no more after this."""
        if isinstance(self.reply, Future):
            return self.reply.set_running_or_notify_cancel()
        return not self.reply.cancelled()


#: Who waits, and what they are told: an outcome, or an error where there is none.
_Answer = tuple[_Waiting, Outcome | None, Exception | None]


class CommitQueue:
    """A bounded queue of commands, and what the writer of one ledger does with them.

    `queue_limit` and `batch_limit` count commands; a batch counts all of its own and is never
    split. `observe` is called after each transaction; `clock` tells seconds that only grow. Where
    the ledger's store tells of `lulls`, too, they are the same.
    """

    def __init__(
        self,
        ledger: Decider,
        *,
        queue_limit: int = QUEUE_LIMIT,
        batch_limit: int = BATCH_LIMIT,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
        observe: Callable[[Commit], None] | None = None,
        lulls: Lulls | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._ledger = ledger
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._answer_seconds_max = answer_seconds_max
        self._observe = observe
        self.lulls = lulls or Lulls()
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._queued_commands = 0
        self._in_hand: list[_Waiting] = []
        self._seconds_per_command = 0.0
        self._closing = False
        self._changed = threading.Condition(threading.Lock())
        #: Event loops that will wake the writer at the end of their turn.
        self._waking: set[asyncio.AbstractEventLoop] = set()

    @property
    def queued_commands(self) -> int:
        """Commands that wait and are not being decided yet."""
        return self._queued_commands

    def submit(self, item: Wish | Batch) -> Future[Outcome]:
        """Queue an item; its future ends with the outcome, after the commit.

        Raises Overloaded at once where too many commands wait. The future raises Unavailable
        where the outcome is not known (the same key, sent again, finds out), or Overloaded where
        the item was given up before it was tried. Cancelling it in the queue takes it out.
        """
        reply: Future[Outcome] = Future()
        self._enqueue(_Waiting(item, _commands(item), self._clock(), None, reply))
        self._wake()
        return reply

    async def submit_async(self, item: Wish | Batch) -> Outcome:
        """The outcome of an item, after the commit; raises what `submit` and its future raise."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Outcome] = loop.create_future()
        self._enqueue(_Waiting(item, _commands(item), self._clock(), loop, reply))
        # Once a turn: whoever is ready to send now goes with this commit, and the writer does not
        # ask for the interpreter between any two of them.
        if loop not in self._waking:
            self._waking.add(loop)
            loop.call_soon(self._wake_from, loop)
        return await reply

    # Queueing.

    def require_room(self) -> None:
        """Raise Overloaded where a command would be refused, before anything is done for it."""
        if self._closing or self._queued_commands >= self._queue_limit:
            raise Overloaded(self._retry_after_seconds())

    def _enqueue(self, waiting: _Waiting) -> None:
        with self._changed:
            queued = self._queued_commands + waiting.commands
            # An empty queue takes a batch of any size, or it would never be taken.
            if self._closing or (queued > self._queue_limit and self._queue):
                raise Overloaded(self._retry_after_seconds())
            self._queue.append(waiting)
            self._queued_commands = queued

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _wake_from(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waking.discard(loop)
        self._wake()

    def _retry_after_seconds(self) -> int:
        seconds = ceil(self._queued_commands * self._seconds_per_command)
        return max(1, min(seconds, _RETRY_AFTER_SECONDS_MAX))

    def _wait(self) -> bool:
        """Wait for commands; False at the end."""
        with self._changed:
            self._in_hand = []
            while not self._queue:
                self.lulls.begin()
                if self._closing:
                    return False
                self._changed.wait()
            self.lulls.end()
        return True

    def _ahead(self) -> list[Wish | Batch]:
        """What waits now, as much as one transaction may hold."""
        ahead: list[Wish | Batch] = []
        commands = 0
        with self._changed:
            for waiting in self._queue:
                commands += waiting.commands
                if commands > self._batch_limit and ahead:
                    break
                ahead.append(waiting.item)
        return ahead

    def _take(self) -> list[_Waiting]:
        """As many commands as one transaction may hold; none where nobody waits any more."""
        with self._changed:
            commands = 0
            while self._queue:
                commands += self._queue[0].commands
                if commands > self._batch_limit and self._in_hand:
                    break
                waiting = self._queue.popleft()
                self._queued_commands -= waiting.commands
                if waiting.begin():
                    self._in_hand.append(waiting)
            return self._in_hand

    # Writing.

    def write_next(self) -> bool:
        """Wait for commands, have them decided and saved, and answer; False when all is done."""
        if not self._wait():
            return False
        began = self._clock()
        outcomes: Sequence[Outcome] | None = None
        trouble = ""
        try:
            with self._ledger.ready(self._ahead()):
                # Whoever came while others had their turns goes with this transaction.
                batch = self._take()
                if not batch:
                    return True
                outcomes = self._ledger.handle([waiting.item for waiting in batch])
                assert len(outcomes) == len(batch), "one outcome for each item"
        except Unavailable as error:
            trouble = str(error)
        except Exception:  # noqa: BLE001 - whatever went wrong, the callers are answered
            _LOG.exception("%d commands were not decided", sum(w.commands for w in self._in_hand))
            outcomes, trouble = None, "a fault of the service"
        batch = self._in_hand or self._take()
        if outcomes is None:
            _fail(batch, partial(Unavailable, trouble))
        else:
            _tell(batch, outcomes)
        if batch:
            self._measure(batch, began, succeeded=outcomes is not None)
        return True

    def _measure(self, batch: Sequence[_Waiting], began: float, *, succeeded: bool) -> None:
        seconds = self._clock() - began
        commands = sum(waiting.commands for waiting in batch)
        self._seconds_per_command = seconds / commands
        if self._observe is not None:
            waited_seconds = began - batch[0].since
            try:
                self._observe(Commit(commands, waited_seconds, seconds, succeeded))
            except Exception:  # noqa: BLE001 - a metric must not stop the writer
                _LOG.exception("a commit could not be measured")

    # Watching.

    def give_up(self) -> None:
        """Answer those who have waited too long, whether their commands were tried or not."""
        untried: list[_Waiting] = []
        oldest = self._clock() - self._answer_seconds_max
        with self._changed:
            while self._queue and self._queue[0].since < oldest:
                untried.append(self._queue.popleft())
                self._queued_commands -= untried[-1].commands
            in_hand = [waiting for waiting in self._in_hand if waiting.since < oldest]
            retry_after_seconds = self._retry_after_seconds()
        _fail(untried, partial(Overloaded, retry_after_seconds))
        _fail(in_hand, partial(Unavailable, "the database has not answered in time"))


class GroupCommit(CommitQueue):
    """The writer of one ledger: the queue and its threads, from construction to `close`.

    `observe` is called in the writer's thread.
    """

    def __init__(
        self,
        ledger: Decider,
        *,
        queue_limit: int = QUEUE_LIMIT,
        batch_limit: int = BATCH_LIMIT,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
        observe: Callable[[Commit], None] | None = None,
        lulls: Lulls | None = None,
    ) -> None:
        super().__init__(
            ledger,
            queue_limit=queue_limit,
            batch_limit=batch_limit,
            answer_seconds_max=answer_seconds_max,
            observe=observe,
            lulls=lulls,
        )
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write, name="group-commit", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="group-commit-watch", daemon=True)
        self._writer.start()
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, timeout_seconds: float = CLOSE_SECONDS_MAX) -> None:
        """Take nothing new, finish what is queued, and stop.

        What has not been tried when the time is over is told Overloaded; what is being tried,
        Unavailable. Safe to call twice.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout_seconds)
        with self._changed:
            untried, in_hand = list(self._queue), self._in_hand
            self._queue.clear()
            self._queued_commands = 0
        _fail(untried, partial(Overloaded, 1))
        _fail(in_hand, partial(Unavailable, "the service stopped before the outcome was known"))
        self._closed.set()
        self._watcher.join()

    def _write(self) -> None:
        while self.write_next():
            pass

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_SECONDS):
            self.give_up()


def _commands(item: Wish | Batch) -> int:
    return max(1, len(item.wishes)) if isinstance(item, Batch) else 1


def _tell(batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    """Give each caller its outcome."""
    _answer([(waiting, outcome, None) for waiting, outcome in zip(batch, outcomes, strict=True)])


def _fail(batch: Sequence[_Waiting], make_error: Callable[[], Exception]) -> None:
    """Give each caller an error of its own."""
    _answer([(waiting, None, make_error()) for waiting in batch])


def _answer(answers: Iterable[_Answer]) -> None:
    """End the callers' futures: one call into each event loop for all that wait there."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Answer]] = defaultdict(list)
    for answer in answers:
        loop = answer[0].loop
        if loop is None:
            _end([answer])
        else:
            by_loop[loop].append(answer)
    for loop, theirs in by_loop.items():
        # A loop that is closed has nobody left who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_end, theirs)


def _end(answers: Iterable[_Answer]) -> None:
    for waiting, outcome, error in answers:
        # Whoever went away, or was told that it took too long, is told nothing more.
        if waiting.reply.done():
            continue
        with suppress(InvalidStateError):
            if error is not None:
                waiting.reply.set_exception(error)
            else:
                assert outcome is not None
                waiting.reply.set_result(outcome)
