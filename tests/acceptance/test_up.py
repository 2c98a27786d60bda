"""`creditledger up` as a person uses it: one command, clean stops, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from quick_folder import quick_folder

COMMAND = [sys.executable, "-P", "-m", "creditledger.api"]
DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """A folder with data, a port, and the command line with these settings."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = folder
        self.log = folder / "up.log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CREDITLEDGER_")}
        self.environment = {
            **inherited,
            "CREDITLEDGER_PORT": str(self.port),
            "CREDITLEDGER_DATA_DIR": str(folder / "data"),
        }

    def run(self, *arguments: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done

    def up(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Everything, running and ready; stopped at the end if it still runs."""
        return self.running("up", until="Ready")

    @contextmanager
    def running(self, *arguments: str, until: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that has printed this; stopped at the end if it still runs."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.wait_for(until, process)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(STOP_SECONDS)

    def wait_for(self, text: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until the command has printed this."""
        deadline = time.monotonic() + START_SECONDS
        while text not in self.printed():
            assert process.poll() is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.05)

    def printed(self) -> str:
        """All that it has printed in this run."""
        return self.log.read_text()

    def processes(self) -> dict[int, str]:
        """What still runs of this installation, as the system shows it."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            ours = f"CREDITLEDGER_PORT={self.port}\0".encode() in environment
            if ours and str(os.getpid()) != entry.name:
                found[int(entry.name)] = command
        return found

    def process(self, part: str) -> int:
        """The id of the first process with this in its command line: forks may show it, too."""
        return min(pid for pid, command in self.processes().items() if part in command)

    def wait_until_nothing_runs(self) -> None:
        """Wait until every process has gone."""
        deadline = time.monotonic() + STOP_SECONDS
        while running := self.processes():
            assert time.monotonic() < deadline, running
            time.sleep(0.05)


@pytest.fixture
def installation() -> Iterator[Installation]:
    with quick_folder("creditledger-test-") as folder:
        folder.chmod(0o711)
        yield Installation(folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_tells_a_key_once_and_stops_cleanly(
    installation: Installation, number: signal.Signals
) -> None:
    with installation.up() as process:
        printed = installation.printed()
        (key,) = re.findall(r"clk_\S+", printed)
        assert str(installation.folder / "data") in printed
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "first"}
        url = f"http://127.0.0.1:{installation.port}/v1/customers/ada"
        granted = httpx.post(f"{url}/grants", json={"amount": 5}, headers=headers)
        assert granted.status_code == 201
        # As a terminal does it: to the whole group of processes.
        os.killpg(process.pid, number)
        assert process.wait(STOP_SECONDS) == 0
    assert installation.printed().endswith("Stopped.\n")
    assert "Traceback" not in installation.printed()
    installation.wait_until_nothing_runs()

    with installation.up():
        assert "clk_" not in installation.printed()
        balance = httpx.get(f"{url}/balance", headers=headers).json()
        assert balance["balances"][0]["available"] == 5


@pytest.mark.slow
def test_the_demo_with_nothing_configured(installation: Installation) -> None:
    with installation.up():
        variables = installation.run("sandbox").stdout
        environment = dict(line.split("=", 1) for line in variables.splitlines())
        demo = subprocess.run(
            [sys.executable, str(DEMO)],
            check=False,
            capture_output=True,
            text=True,
            env={**installation.environment, **environment},
        )
        assert demo.returncode == 0, demo.stdout + demo.stderr


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["api serve", "api work", "bin/postgres"])
def test_where_a_process_ends_by_itself_all_is_stopped_and_said(
    installation: Installation, victim: str
) -> None:
    with installation.up() as process:
        os.kill(installation.process(victim), signal.SIGKILL)
        assert process.wait(STOP_SECONDS) == 1
    assert "ended by itself" in installation.printed()
    assert "Traceback" not in installation.printed()
    installation.wait_until_nothing_runs()


@pytest.mark.slow
def test_after_up_itself_was_killed_the_next_one_starts(installation: Installation) -> None:
    with installation.up() as process:
        process.kill()
        process.wait(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while any("creditledger.api" in c for c in installation.processes().values()):
            assert time.monotonic() < deadline, installation.processes()
            time.sleep(0.05)
    with installation.up():
        pass
    installation.wait_until_nothing_runs()


@pytest.mark.slow
def test_where_another_ledger_has_the_port_nothing_is_started(installation: Installation) -> None:
    with installation.up(), quick_folder("creditledger-test-") as folder:
        other = Installation(folder, port=installation.port)
        for command in ("up", "serve"):
            done = other.run(command, succeeds=False)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == (
                f"creditledger: 127.0.0.1:{installation.port} is taken:"
                " stop what listens there, or set CREDITLEDGER_PORT\n"
            )
        assert not (folder / "data").exists()


@pytest.mark.slow
def test_an_address_of_another_machine_is_refused(installation: Installation) -> None:
    installation.environment["CREDITLEDGER_HOST"] = "192.0.2.1"
    done = installation.run("up", succeeds=False)
    assert f"nothing can listen on 192.0.2.1:{installation.port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (installation.folder / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("serve",), "serving on http://127.0.0.1:{port}; stop with Ctrl-C"),
        (("work", "sweeper", "projections"), "working on sweeper, projections; stop with Ctrl-C"),
    ],
)
def test_each_process_alone_says_what_it_does(
    installation: Installation, command: tuple[str, ...], said: str
) -> None:
    with installation.up():
        assert "serving on" not in installation.printed()
        assert "working on" not in installation.printed()
        with quick_folder("creditledger-test-") as folder:
            other = Installation(folder)
            other.environment["CREDITLEDGER_DATA_DIR"] = str(installation.folder / "data")
            with other.running(*command, until=said.format(port=other.port)) as process:
                process.terminate()
                assert process.wait(STOP_SECONDS) == 0


@pytest.mark.slow
def test_a_second_one_on_the_same_folder_is_refused(installation: Installation) -> None:
    with installation.up():
        installation.environment["CREDITLEDGER_PORT"] = str(free_port())
        done = installation.run("up", succeeds=False)
    assert "another process is running the PostgreSQL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_a_database_serve_says_what_to_do(installation: Installation) -> None:
    for command in ("serve", "work"):
        done = installation.run(command, succeeds=False)
        assert "CREDITLEDGER_DATABASE_URL" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_commands_start_the_database_for_a_moment(installation: Installation) -> None:
    installation.run("migrate")
    key = installation.run("clients", "create", "billing", "--scope", "read").stdout.strip()
    assert key.startswith("clk_")
    assert key not in installation.run("keys", "list").stdout
    installation.wait_until_nothing_runs()


@pytest.mark.parametrize(
    "command", ["sandbox", "verify", "clients list", "keys list", "projections list"]
)
def test_where_no_ledger_is_commands_make_none(installation: Installation, command: str) -> None:
    done = installation.run(*command.split(), succeeds=False)
    folder = installation.folder / "data"
    assert done.stderr.startswith(f"creditledger: there is no ledger in {folder}: start one")
    assert not folder.exists()


@pytest.mark.slow
def test_the_database_alone_for_dumps_and_restores(installation: Installation) -> None:
    installation.run("migrate")
    process = subprocess.Popen(
        [*COMMAND, "postgres"],
        env=installation.environment,
        cwd=installation.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().startswith("postgresql://")
        assert "another process" in installation.run("up", succeeds=False).stderr
        assert "Everything agrees." in installation.run("verify").stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0
    installation.wait_until_nothing_runs()
