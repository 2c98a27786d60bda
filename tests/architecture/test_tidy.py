"""What holds of every file, so that nobody has to remember it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
import typer.main

from creditledger.api import cli, problems
from creditledger.domain import errors
from creditledger.domain.events import Event
from creditledger.infra.settings import Settings

ROOT = Path(__file__).parents[2]
T = TypeVar("T")

FOLDERS = ("domain", "projections", "api", "consumers", "infra")
EVERYWHERE = (*FOLDERS, "tests", "bench", "examples")

LINES_OF_A_FILE_MAX = 400
#: Tests repeat themselves so that each can be read alone.
LINES_OF_A_TEST_FILE_MAX = 600
LINES_OF_A_FUNCTION_MAX = 70

#: Names that say nothing of what is in them.
EMPTY_NAMES = ("utils", "helpers", "manager", "common", "misc")


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    return "creditledger." + ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """The absolute names that a file imports, modules and what is in them."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def subclasses(base: type[T]) -> Iterator[type[T]]:
    """Those that their modules know by name: `slots=True` makes each dataclass twice."""
    for child in base.__subclasses__():
        if getattr(sys.modules[child.__module__], child.__name__, None) is child:
            yield child
        yield from subclasses(child)


@pytest.mark.parametrize("path", files(*EVERYWHERE), ids=named)
def test_a_file_is_short_in_every_way(path: Path) -> None:
    lines = path.read_text().splitlines()
    in_tests = path.is_relative_to(ROOT / "tests")
    assert len(lines) <= (LINES_OF_A_TEST_FILE_MAX if in_tests else LINES_OF_A_FILE_MAX)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= LINES_OF_A_FUNCTION_MAX, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", files(*FOLDERS), ids=named)
def test_a_module_says_what_it_is_and_has_a_name_that_means_something(path: Path) -> None:
    assert path.stem not in EMPTY_NAMES
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            assert not node.name.endswith(("Manager", "Helper", "Utils")), node.name
    if path.name != "__init__.py":
        assert ast.get_docstring(tree(path)), "no docstring"


@pytest.mark.parametrize("path", files("domain"), ids=named)
def test_the_domain_has_no_clock_no_chance_and_no_floats(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not re.fullmatch(
                r"(.*\.)?date(time)?\.(now|utcnow|today)|time\..*|(.*\.)?uuid[14]|float|random\..*",
                called,
            ), f"line {node.lineno}: {called}"
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float), f"line {node.lineno}: {node.value}"
        if isinstance(node, ast.BinOp):
            assert not isinstance(node.op, ast.Div), f"line {node.lineno}: divides into a float"


@pytest.mark.parametrize("path", files(*EVERYWHERE), ids=named)
def test_nobody_imports_a_folder_under_its_bare_name(path: Path) -> None:
    bare = [name for name in imports(path) if name.split(".")[0] in FOLDERS]
    assert not bare


def test_no_module_that_nothing_imports() -> None:
    imported = {name for path in files(*FOLDERS) for name in imports(path)}
    # The console script, and what the eventsourcing library is given in its own settings.
    entry_points = {"creditledger.api.__main__", "creditledger.infra.recorder"}
    modules = {module(path) for path in files(*FOLDERS) if path.name != "__init__.py"}
    assert modules - imported - entry_points == set()


def test_every_event_has_a_topic_of_its_own() -> None:
    found = [event for event in subclasses(Event) if event.__module__.startswith("creditledger.")]
    topics = [event.__dict__["TOPIC"] for event in found if not list(subclasses(event))]
    assert len(topics) > 10
    assert len(set(topics)) == len(topics)
    for topic in topics:
        assert re.fullmatch(r"creditledger\.[A-Z][A-Za-z]+", topic)


def test_every_error_code_is_in_the_api_table() -> None:
    codes = {e.code for e in subclasses(errors.LedgerError) if "code" in e.__dict__}
    assert codes - set(problems.PROBLEMS) == set()


def test_the_readme_has_every_setting_and_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    settings, commands = readme.split("## Configuration")[1].split("## Commands")
    described = re.findall(r"^\| `([A-Z_]+)` \|", settings, flags=re.MULTILINE)
    assert described == [name.upper() for name in Settings.model_fields]
    words = set(re.findall(r"[a-z]+", commands))
    main = typer.main.get_group(cli.app)
    assert set(main.commands) <= words
    for group in (command for command in main.commands.values() if hasattr(command, "commands")):
        assert set(group.commands) <= words


@pytest.mark.parametrize("path", files(*EVERYWHERE), ids=named)
def test_nothing_is_left_for_later(path: Path) -> None:
    found = re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", path.read_text())
    assert path == Path(__file__) or not found
