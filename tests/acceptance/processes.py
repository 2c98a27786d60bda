"""The service as processes of its own, to be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import httpx

COMMAND = Path(sys.executable).with_name("creditledger")
API_KEY = "clk_test_0123456789abcdef0123456789abcdef"
_START_SECONDS = 60.0


class Process:
    """One `creditledger` process on a port and a database.

    `settings` are further settings, by their names without the prefix.
    """

    def __init__(self, name: str, database_url: str, folder: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._name = name
        self._folder = folder
        self._environment = {
            **os.environ,
            "CREDITLEDGER_DATABASE_URL": database_url,
            "CREDITLEDGER_PORT": str(self._port),
            "CREDITLEDGER_BOOTSTRAP_API_KEY": API_KEY,
            **{f"CREDITLEDGER_{key}": value for key, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind, however the test has ended."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def start(self) -> None:
        """Start it; an API process answers when this returns."""
        self._started = time.monotonic()
        log = (self._folder / f"{self._name}-{self._port}.log").open("ab")
        self._process = subprocess.Popen(
            [COMMAND, self._name],
            cwd=self._folder,
            env=self._environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        log.close()
        if self._name == "serve":
            self._wait_until_alive()

    def revive(self) -> bool:
        """Start it again where it has ended by itself, as it does where it finds no database.

        That is for the start alone: one that has been up lives through whatever happens.
        """
        assert self._process is not None
        if self._process.poll() is None:
            return False
        lived_seconds = time.monotonic() - self._started
        assert lived_seconds < _START_SECONDS, f"it ended by itself after {lived_seconds:.0f} s"
        self.start()
        return True

    def kill(self) -> None:
        """End it at once, with no chance to finish anything."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it do nothing, as if the machine had no time for it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def memory(self) -> int:
        """Bytes that it has in memory."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def stop(self) -> None:
        """Ask it to stop, and expect that it stops cleanly."""
        assert self._end(signal.SIGTERM) == 0

    def _end(self, by: signal.Signals) -> int:
        self._signal(by)
        assert self._process is not None
        return self._process.wait(30)

    def _signal(self, by: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(by)

    def _wait_until_alive(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        assert self._process is not None
        while True:
            assert self._process.poll() is None, "the process ended while it was starting"
            try:
                if httpx.get(f"{self.url}/healthz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the process did not answer"
            time.sleep(0.05)
