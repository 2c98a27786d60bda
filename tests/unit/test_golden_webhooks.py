"""What each body must lead to, one golden file for each: its commands in order, or why none.

A golden file names what differs from a command's defaults. CREDITLEDGER_TEST_BODIES may name a
folder with more bodies, `provider.event_type.case.json`: each has to be understood.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from creditledger.consumers import polar, stripe
from creditledger.consumers.reading import Ignored, Told
from creditledger.domain.commands import Command
from provider_bodies import BODIES

GOLDEN = Path(__file__).parent / "golden_webhooks"
MORE = os.environ.get("CREDITLEDGER_TEST_BODIES")


def bodies(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.*.json"))


def translated(path: Path) -> Told | Ignored:
    content = json.loads(path.read_bytes())
    if path.name.startswith("polar."):
        return polar.translate(content)
    return stripe.translate(content, livemode=False)


def shown(value: Any) -> Any:
    """A value as JSON; of a dataclass, what differs from its defaults."""
    if isinstance(value, Command):
        return {"command": value.NAME, **dict(changes(value))}
    if is_dataclass(value):
        return dict(changes(value))
    if isinstance(value, tuple):
        return [shown(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def changes(value: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        found = getattr(value, field.name)
        if field.default is MISSING or found != field.default:
            yield field.name, shown(found)


@pytest.mark.parametrize("path", bodies(BODIES), ids=lambda path: path.stem)
def test_a_body_leads_to_what_its_golden_file_says(path: Path) -> None:
    told = translated(path)
    outcome = {"ignored": told.reason} if isinstance(told, Ignored) else shown(told.commands)
    assert outcome == json.loads((GOLDEN / path.name).read_bytes())


def test_every_golden_file_has_a_body() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {path.name for path in bodies(BODIES)}


@pytest.mark.parametrize(
    "path", bodies(BODIES) + (bodies(Path(MORE)) if MORE else []), ids=lambda path: path.stem
)
def test_a_body_is_understood(path: Path) -> None:
    assert isinstance(translated(path), Told | Ignored)
