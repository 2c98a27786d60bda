"""Load from wrk, a native client, so that the client is not what is measured."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from service import Service

_SCRIPTS = Path(__file__).parent / "wrk"


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests a second, latencies, and how many were not answered with success."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    #: Answers of success a second.
    succeeded_per_second: float


def find_wrk() -> str:
    """Where wrk is; ends the program with what to do where it is nowhere."""
    found = shutil.which("wrk")
    if found is None:
        sys.exit("`make bench` needs wrk, a native HTTP client: install it (apt-get install wrk).")
    return found


def run(script: str, url: str, *arguments: str, connections: int, seconds: int) -> Load:
    """Let wrk play a script for so long over so many connections."""
    done = subprocess.run(
        [
            find_wrk(),
            *("--threads", "1", "--connections", str(connections)),
            *("--duration", f"{seconds}s", "--timeout", "30s", "--latency"),
            *("--script", str(_SCRIPTS / script), url, "--", *arguments),
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "WRK_DIR": str(_SCRIPTS)},
    )
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    sockets = re.search(r"Socket errors: (.*)", done.stdout)
    if sockets is not None and set(re.findall(r"\d+", sockets[1])) != {"0"}:
        raise RuntimeError(f"connections failed: {sockets[1]}")
    per_second = float(_found(r"Requests/sec:\s+([\d.]+)", done.stdout))
    failed = int(errors[1]) if errors else 0
    answered = int(_found(r"(\d+) requests in", done.stdout))
    return Load(
        per_second=per_second,
        p50_ms=_milliseconds(_found(r"^ +50% +(\S+)", done.stdout)),
        p99_ms=_milliseconds(_found(r"^ +99% +(\S+)", done.stdout)),
        failed=failed,
        succeeded_per_second=per_second * (answered - failed) / max(1, answered),
    )


def on(running: Service, script: str, *arguments: str, connections: int, seconds: int) -> Load:
    """The same on the service, under keys that were never used."""
    key = uuid.uuid4().hex
    return run(
        *(script, running.url, running.api_key, key, *arguments),
        connections=connections,
        seconds=seconds,
    )


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    if match is None:
        raise RuntimeError(f"wrk printed no latency: {text!r}")
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[match[2]]


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"wrk printed no {pattern!r}:\n{text}")
    return match[1]
