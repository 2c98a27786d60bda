"""The wheel, built and installed as others get it, works from a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Nothing of the checkout may help: not its settings, not its folders.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("CREDITLEDGER_", "PYTHON"))
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="creditledger-test-") as name:
        os.chmod(name, 0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    """The wheel, by way of the source distribution, as `python -m build` makes it."""
    run(sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(folder: Path, wheel: Path) -> Path:
    """The console script in an environment with this wheel and its locked dependencies alone."""
    place = folder / "venv"
    venv.create(place, with_pip=True)
    python = str(place / "bin" / "python")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "-q")
    run(*pip, "--require-hashes", "-r", ROOT / "requirements.lock", cwd=folder)
    run(*pip, "--no-deps", wheel, cwd=folder)
    return place / "bin" / "creditledger"


@pytest.mark.slow
def test_the_wheel_owns_one_name_and_ships_all(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"creditledger"}
    for folder in ("domain", "projections", "api", "consumers", "infra"):
        source = {
            str(path.relative_to(ROOT / folder))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        prefix = f"creditledger/{folder}/"
        shipped = {n.removeprefix(prefix) for n in names if n.startswith(prefix)}
        assert shipped == source
        assert "py.typed" in shipped


@pytest.mark.slow
def test_the_installed_command_works_from_another_folder(command: Path, folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    # What would be found first, if the current folder were looked into.
    (elsewhere / "api").mkdir()
    (elsewhere / "api" / "__init__.py").write_text("raise AssertionError('imported')")
    assert "migrate" in run(command, "--help", cwd=elsewhere)
    assert run(command, "version", cwd=elsewhere).strip() == version("creditledger")
    migrated = run(command, "migrate", cwd=elsewhere, CREDITLEDGER_DATA_DIR=str(folder / "data"))
    assert "Ran 0001_log" in migrated
    assert "The database is up to date." in migrated
    again = run(command, "migrate", cwd=elsewhere, CREDITLEDGER_DATA_DIR=str(folder / "data"))
    assert again == "The database is up to date.\n"
    verified = run(command, "verify", cwd=elsewhere, CREDITLEDGER_DATA_DIR=str(folder / "data"))
    assert "Everything agrees." in verified
