"""What is killed, frozen and cut off under load, and comes back."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Protocol, Self

from psycopg import OperationalError

from creditledger.infra.database import connect
from creditledger.infra.embedded_postgres import embedded_postgres
from creditledger.infra.migrate import migrate
from kafka_broker import Broker
from processes import Process

_CONNECT_SECONDS_MAX = 30.0

#: Longer than clients wait, and than the service waits for a database.
_HARM_SECONDS_MAX = 6.0

#: Connections of the service; not those of a test that looks.
_CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name LIKE 'creditledger%%' AND random() < %s
"""


_GIVE_UP_SECONDS = 5.0


class Victim(Protocol):
    """Something that can be killed and started, frozen and thawed."""

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


class Postgres:
    """The embedded PostgreSQL as a victim; it syncs to disk as it does for everybody."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self._folder = folder
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        migrate(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        # What is frozen could not obey.
        self.thaw()
        self._running.close()

    def start(self) -> None:
        """Start it; it recovers what it had committed."""
        self.url = self._running.enter_context(embedded_postgres(self._folder))

    def kill(self) -> None:
        """End all of its processes at once."""
        self._signal(signal.SIGKILL)
        self._running.close()

    def freeze(self) -> None:
        """Let none of its processes do anything."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def cut(self, share: float) -> None:
        """Cut some of the service's connections."""
        deadline = time.monotonic() + _CONNECT_SECONDS_MAX
        while True:
            try:
                with connect(self.url, "tests") as connection:
                    connection.execute(_CUT, (share,))
                return
            except OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.2)

    def _signal(self, by: signal.Signals) -> None:
        pids = self._folder / "pg18" / "postmaster.pid"
        if not pids.exists():
            return
        postmaster = int(pids.read_text().splitlines()[0])
        for pid in (postmaster, *_children(postmaster)):
            with suppress(ProcessLookupError):
                os.kill(pid, by)


class Kafka:
    """A broker as a victim."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._broker.start()

    def kill(self) -> None:
        """Pull the plug."""
        self._broker.stop()

    def freeze(self) -> None:
        """Let it do nothing."""
        self._broker.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._broker.signal(signal.SIGCONT)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # After the name, which is in brackets and may hold anything: state, then the parent.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


class Tormentor:
    """Harms one or two victims at a time, for some seconds, and brings them back.

    `victims` come back in their order: what others need to start stands first.
    """

    def __init__(self, chance: Random, postgres: Postgres, victims: dict[str, Victim]) -> None:
        self.deeds: list[str] = []
        self._chance = chance
        self._postgres = postgres
        self._victims = victims

    def torment(self, until: float) -> None:
        """Go on until this moment of the monotonic clock; all is well again afterwards."""
        while time.monotonic() < until:
            time.sleep(self._chance.uniform(0.5, 3.0))
            self._revive()
            if self._chance.random() < 0.2:
                share = self._chance.choice((0.3, 1.0))
                self.deeds.append(f"cut {share:.0%} of the connections")
                self._postgres.cut(share)
            else:
                self._harm(self._chance.sample([*self._victims], self._chance.choice((1, 1, 2))))

        # One that was started while something was away may take a while to give up.
        time.sleep(_GIVE_UP_SECONDS)
        self._revive()

    def _revive(self) -> None:
        """As whatever watches over processes does."""
        for name, victim in self._victims.items():
            if isinstance(victim, Process) and victim.revive():
                self.deeds.append(f"{name} starts again")

    def _harm(self, names: list[str]) -> None:
        killed = {name for name in names if self._chance.random() < 0.6}
        for name in names:
            victim = self._victims[name]
            self.deeds.append(f"{'kill' if name in killed else 'freeze'} {name}")
            if name in killed:
                victim.kill()
            else:
                victim.freeze()
        time.sleep(self._chance.uniform(0.0, _HARM_SECONDS_MAX))
        # First those that the others may need to start.
        for name in sorted(names, key=[*self._victims].index):
            if name in killed:
                self._victims[name].start()
            else:
                self._victims[name].thaw()
