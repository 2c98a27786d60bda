"""Stripe's own mock, which knows its API's calls and parameters and refuses all others.

It is built once for each user's machine, from the Go module proxy, or taken from where
CREDITLEDGER_TEST_STRIPE_MOCK says.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import pytest

#: Set it to make of a skip a failure.
REQUIRED: Final = "CREDITLEDGER_TEST_REQUIRE_STRIPE_MOCK"

#: A stripe-mock of your own: its file.
GIVEN: Final = "CREDITLEDGER_TEST_STRIPE_MOCK"

#: How each skip begins.
SKIPPED: Final = "NOT TESTED ON STRIPE-MOCK"

_MODULE: Final = "github.com/stripe/stripe-mock@v0.203.0"

_BUILD_SECONDS_MAX: Final = 300.0
_START_SECONDS_MAX: Final = 20.0


@contextmanager
def stripe_mock() -> Iterator[str]:
    """Its address, on this machine alone, until the block ends. Skips where there is none."""
    program = _program()
    http, https = _free_addresses()
    # Without both it would listen on all of the machine's addresses.
    command = [str(program), "-http-addr", http, "-https-addr", https]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(process, http)
            yield f"http://{http}"
        finally:
            process.kill()


def _program() -> Path:
    if given := os.environ.get(GIVEN):
        return Path(given)
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "creditledger-tests"
    program = kept / _MODULE.rpartition("/")[2] / "stripe-mock"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        return _missing(f"there is no Go to build {_MODULE} with")
    program.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [go, "install", _MODULE],
            env={**os.environ, "GOBIN": str(program.parent), "GOFLAGS": "-modcacherw"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        return _missing(f"{_MODULE} was not built within {_BUILD_SECONDS_MAX:.0f} s")
    if done.returncode != 0:
        return _missing(f"{_MODULE} was not built: {done.stderr[-500:]}")
    return program


def _missing(reason: str) -> Path:
    if os.environ.get(REQUIRED):
        pytest.fail(f"{SKIPPED}: {reason}")
    pytest.skip(f"{SKIPPED}: {reason}")


def _free_addresses() -> tuple[str, str]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}", f"127.0.0.1:{other.getsockname()[1]}"


def _wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    host, _, port = address.partition(":")
    deadline = monotonic() + _START_SECONDS_MAX
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "stripe-mock ended by itself"
            assert monotonic() < deadline, "stripe-mock does not answer"
            sleep(0.05)
