"""The processes that `creditledger up` runs: started together, watched, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

_POLL_SECONDS: Final = 0.2

#: What a process may take to finish what it has in hand; it is killed past that.
STOP_SECONDS_MAX: Final = 30.0


class ProcessEnded(Exception):
    """Something that should run has ended by itself."""


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt in the block once; while it ends, none does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_processes(
    names: Sequence[str], environment: Mapping[str, str], *, watch: Callable[[], None]
) -> None:
    """Run these commands of ours until the caller is interrupted, and stop them all at the end.

    `watch` is called again and again. Raises ProcessEnded where a process ends by itself, and
    what `watch` raises.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in names:
            processes[name] = _start(name, environment)
        while True:
            for name, process in processes.items():
                if process.poll() is not None:
                    raise ProcessEnded(
                        f"`creditledger {name}` ended by itself with code {process.returncode}"
                    )
            watch()
            time.sleep(_POLL_SECONDS)
    finally:
        for process in processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for process in processes.values():
            _wait(process, deadline - time.monotonic())


def stop_with_parent(parent: int) -> None:
    """Have this process told to stop when its parent is gone, even where that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stop-with-parent", daemon=True).start()


def _start(name: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # -P keeps the folder that we were called from out of the places where modules are looked for.
    # In a group of its own, a Ctrl-C in the terminal reaches the process by us alone.
    command = [sys.executable, "-P", "-m", "creditledger.api", name]
    return subprocess.Popen(
        [*command, "--parent", str(os.getpid())],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
