"""One thing at a time, on a clock that only the scheduler moves, in an order drawn from a seed.

Tasks are plain functions that call production code. They may be suspended wherever they call
`pause`, `sleep` or `wait_for`, however deep in that code: each has a thread of its own, because
Python cannot suspend a function otherwise. Exactly one thread ever runs; the others wait for it to
hand over, so a run depends on nothing but its seed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

#: In the middle of a period of the providers' subscriptions.
START = datetime(2026, 10, 5, 12, tzinfo=UTC)

#: What one step takes, at most; most of what happens happens within the same second.
_STEP_MICROSECONDS_MAX = 400

#: Far more than any run needs: past it, something goes round in circles.
_STEPS_MAX = 40_000

#: The last steps, for whoever looks at a failure.
_TRACE_LINES = 60


class Killed(BaseException):
    """The task's process is gone. Unwinds its stack; nothing may catch it for good."""


class Stuck(AssertionError):
    """Nothing can go on any more, or nothing ever ends."""


@dataclass(eq=False)
class Task:
    """A function under way: suspended until `wake`, or until `ready` says so, or both."""

    name: str
    go: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None
    wake: int | None = 0
    ready: Callable[[], bool] | None = None
    killed: bool = False
    done: bool = False
    fault: BaseException | None = None

    def can_go_on(self, now: int) -> bool:
        """Whether it is this task's time, or what it waits for has happened."""
        if self.killed or (self.wake is not None and self.wake <= now):
            return True
        return self.ready is not None and self.ready()


class Scheduler:
    """Runs tasks one step at a time. Time stands in microseconds since the start."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.microseconds = 0
        self.steps = 0
        self.trace: list[str] = []
        self._digest = hashlib.sha256()
        self._tasks: list[Task] = []
        self._current: Task | None = None
        self._back = threading.Lock()
        self._back.acquire()

    # What tasks and their code may ask.

    def now(self) -> datetime:
        """The simulated moment."""
        return START + timedelta(microseconds=self.microseconds)

    def seconds(self) -> float:
        """The simulated monotonic clock."""
        return self.microseconds / 1_000_000

    def note(self, text: str) -> None:
        """Write down what happens; two runs of one seed note the same."""
        line = f"{self.microseconds / 1_000_000:12.6f} {text}"
        self._digest.update(line.encode())
        self.trace.append(line)

    @property
    def digest(self) -> str:
        """A fingerprint of all that happened."""
        return self._digest.hexdigest()

    def last_steps(self) -> str:
        """The end of the trace."""
        return "\n".join(self.trace[-_TRACE_LINES:])

    def pause(self) -> None:
        """Let others go first, perhaps."""
        self._suspend(wake=self.microseconds, ready=None)

    def sleep(self, seconds: float) -> None:
        """Go on after so long."""
        self._suspend(wake=self.microseconds + round(seconds * 1_000_000), ready=None)

    def wait_for(self, ready: Callable[[], bool], timeout_seconds: float | None = None) -> bool:
        """Go on when this is so, or when the time is over; return whether it is so."""
        wake = None
        if timeout_seconds is not None:
            wake = self.microseconds + round(timeout_seconds * 1_000_000)
        self._suspend(wake=wake, ready=ready)
        return ready()

    # Tasks.

    def spawn(self, name: str, function: Callable[[], None]) -> Task:
        """Begin a task; it takes its first step when it is drawn."""
        task = Task(name)
        task.go.acquire()
        task.thread = threading.Thread(
            target=self._begin, args=(task, function), name=name, daemon=True
        )
        task.thread.start()
        self._tasks.append(task)
        return task

    def kill(self, task: Task) -> None:
        """Let a task go no further than where it is."""
        task.killed = True

    def run(self, until: Callable[[], bool]) -> None:
        """Take steps until this is so. Raises what a task raises."""
        while not until():
            self.steps += 1
            if self.steps > _STEPS_MAX:
                raise Stuck(f"no end after {_STEPS_MAX} steps")
            self._step(self._draw())

    def end(self) -> None:
        """Unwind all tasks that are left."""
        for task in self._tasks:
            task.killed = True
        while self._tasks:
            self._step(self._tasks[0])

    def _draw(self) -> Task:
        able = [task for task in self._tasks if task.can_go_on(self.microseconds)]
        while not able:
            wakes = [task.wake for task in self._tasks if task.wake is not None]
            if not wakes:
                raise Stuck(f"all wait: {[task.name for task in self._tasks]}")
            self.microseconds = max(self.microseconds, min(wakes))
            able = [task for task in self._tasks if task.can_go_on(self.microseconds)]
        return self.chance.choice(able)

    def _step(self, task: Task) -> None:
        self.microseconds += self.chance.randrange(_STEP_MICROSECONDS_MAX)
        self._digest.update(task.name.encode())
        self._current = task
        task.go.release()
        self._back.acquire()
        self._current = None
        if task.done:
            self._tasks.remove(task)
            assert task.thread is not None
            task.thread.join()
            if task.fault is not None and not isinstance(task.fault, Killed):
                raise task.fault

    def _begin(self, task: Task, function: Callable[[], None]) -> None:
        task.go.acquire()
        try:
            if not task.killed:
                function()
        except BaseException as fault:  # noqa: BLE001 - raised again by the scheduler
            task.fault = fault
        finally:
            task.done = True
            self._back.release()

    def _suspend(self, wake: int | None, ready: Callable[[], bool] | None) -> None:
        task = self._current
        assert task is not None, "only a task can wait"
        if task.killed:
            raise Killed
        task.wake, task.ready = wake, ready
        self._back.release()
        task.go.acquire()
        if task.killed:
            raise Killed
