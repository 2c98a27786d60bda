"""The embedded PostgreSQL: started, kept, shared with nobody, stopped, recovered after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import OperationalError

from creditledger.infra.database import connect
from creditledger.infra.embedded_postgres import (
    ROOM,
    EmbeddedPostgresFailed,
    embedded_postgres,
    running_postgres,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="creditledger-test-") as name:
        yield Path(name)


def value(url: str, query: str) -> object:
    with connect(url, "tests") as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def test_data_is_kept_from_one_run_to_the_next(folder: Path) -> None:
    with embedded_postgres(folder) as url:
        with connect(url, "tests") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        assert value(url, "SHOW fsync") == "on"
        assert value(url, "SHOW listen_addresses") == ""
        assert value(url, "SHOW data_checksums") == "on"
        assert {name: value(url, f"SHOW {name}") for name in ROOM} == ROOM
    with pytest.raises(OperationalError):
        connect(url, "tests")
    with embedded_postgres(folder) as url:
        assert value(url, "SELECT n FROM kept") == 7


def test_a_folder_in_use_is_refused_and_named(folder: Path) -> None:
    with (
        embedded_postgres(folder),
        pytest.raises(EmbeddedPostgresFailed, match=folder.name),
        embedded_postgres(folder),
    ):
        raise AssertionError("two servers on one folder")


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(folder: Path) -> None:
    (folder / "letter.txt").write_text("dear")
    before = folder.stat()
    with (
        pytest.raises(EmbeddedPostgresFailed, match="other things in it"),
        embedded_postgres(folder),
    ):
        raise AssertionError("moved in with somebody else")
    assert os.listdir(folder) == ["letter.txt"]
    assert (folder.stat().st_uid, folder.stat().st_mode) == (before.st_uid, before.st_mode)


def test_whoever_looks_finds_the_running_server(folder: Path) -> None:
    assert running_postgres(folder) is None
    with embedded_postgres(folder) as url:
        assert running_postgres(folder) == url
    assert running_postgres(folder) is None


def test_a_folder_with_a_name_too_long_for_a_socket_works(folder: Path) -> None:
    with embedded_postgres(folder / ("long" * 30)) as url:
        assert value(url, "SELECT 1") == 1


def test_a_server_that_a_killed_process_left_behind_is_taken_over(folder: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from creditledger.infra.database import connect
        from creditledger.infra.embedded_postgres import embedded_postgres
        with embedded_postgres(Path({str(folder)!r})) as url:
            with connect(url, "tests") as connection:
                connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with embedded_postgres(folder) as url:
        assert value(url, "SELECT n FROM kept") == 7


def test_an_interrupt_to_our_process_group_does_not_reach_the_server(folder: Path) -> None:
    code = f"""
        import os, signal, time
        from pathlib import Path
        from creditledger.infra.database import connect
        from creditledger.infra.embedded_postgres import embedded_postgres
        # Whoever runs the tests in the background may have us born deaf to it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with embedded_postgres(Path({str(folder)!r})) as url:
            try:
                os.killpg(0, signal.SIGINT)
                time.sleep(60)
            except KeyboardInterrupt:
                time.sleep(0.5)
                with connect(url, "tests") as connection:
                    print(connection.execute("SELECT 'still there'").fetchone()[0])
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=True,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert run.stdout == "still there\n"


def test_a_server_that_cannot_start_names_its_log(folder: Path) -> None:
    with (
        pytest.raises(EmbeddedPostgresFailed, match=r"postgres\.log"),
        embedded_postgres(folder, {"max_connections": "none"}),
    ):
        raise AssertionError("started with nonsense")
    assert "max_connections" in (folder / "postgres.log").read_text()
    assert os.listdir(folder)
