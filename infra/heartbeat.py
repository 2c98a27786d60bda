"""Whether the jobs of a process that answers no requests are at it, for whoever looks after it.

Every job looks again and again whether it is to stop. One that has not looked for long, and does
not sleep, hangs: then the process no longer touches its file, as when it is frozen or gone.
`python -m creditledger.infra.heartbeat FILE` tells by its exit code, within some hundredths of a
second. What a job waits for (a database, brokers) is no reason: to start it again would not help.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Final

#: How long a job may do something without looking: longer than all that it may have to wait for,
#: such as a provider's API that does not answer.
SILENT_SECONDS_MAX: Final = 300.0

#: How old the file may be: it is touched every second, on a machine that may be busy.
AGE_SECONDS_MAX: Final = 15.0


class Stop(threading.Event):
    """A signal to stop that knows when each thread has last looked at it."""

    def __init__(self) -> None:
        super().__init__()
        #: When each thread looked; None while it sleeps until the signal or its time comes.
        self._looked: dict[threading.Thread, float | None] = {}
        self._begun = time.monotonic()

    def is_set(self) -> bool:
        """Whether to stop; the thread that asks is at it."""
        self._looked[threading.current_thread()] = time.monotonic()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until it is set or the time is over; return whether it is set."""
        self._looked[threading.current_thread()] = None
        try:
            return super().wait(timeout)
        finally:
            self._looked[threading.current_thread()] = time.monotonic()

    def silent_seconds(self) -> float:
        """For how long some living thread has not looked: the longest time; 0 where all sleep."""
        now = time.monotonic()
        looked = [at for thread, at in self._looked.copy().items() if thread.is_alive()]
        if not looked:
            return now - self._begun
        return max((now - at for at in looked if at is not None), default=0.0)


def beat(file: Path) -> None:
    """Say that all is well at this moment."""
    file.touch()


def trouble(file: Path) -> str | None:
    """What is wrong with a process by its file; None where all is well."""
    try:
        age_seconds = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return f"there is no {file}: the process has not begun"
    if age_seconds > AGE_SECONDS_MAX:
        return f"no sign of life for {age_seconds:.0f} s: the process is gone, or a job of it hangs"
    return None


if __name__ == "__main__":
    sys.exit(trouble(Path(sys.argv[1])))
