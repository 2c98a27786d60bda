"""The AsyncAPI document: kept in step with the code, whole in itself, complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft7Validator, Draft202012Validator
from typer.testing import CliRunner

from creditledger.api.asyncapi import document, dumped
from creditledger.api.cli import app
from creditledger.infra.settings import Settings
from creditledger.projections.public_types import PUBLIC_TYPES

KEPT = Path(__file__).parents[2] / "docs" / "asyncapi.json"
DOCUMENT = document(Settings())


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def referred(reference: str) -> Any:
    part: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        part = part[step]
    return part


def test_the_kept_copy_is_in_step() -> None:
    made = dumped(DOCUMENT)
    assert KEPT.read_text() == made, "run `creditledger asyncapi > docs/asyncapi.json`"


def test_the_command_prints_it_with_the_topic_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(app, ["asyncapi"]).stdout == KEPT.read_text()
    monkeypatch.setenv("CREDITLEDGER_KAFKA_EVENTS_TOPIC", "eu.ledger")
    told = CliRunner().invoke(app, ["asyncapi"]).stdout
    assert told == dumped(document(Settings()))
    assert '"address": "eu.ledger"' in told


def test_every_reference_leads_somewhere_and_everything_is_referred_to() -> None:
    found = set(references(DOCUMENT))
    for reference in found:
        assert isinstance(referred(reference), dict), reference
    for kind, parts in DOCUMENT["components"].items():
        assert {f"#/components/{kind}/{name}" for name in parts} <= found


def test_the_channel_and_the_operation_have_every_type() -> None:
    names = {public_type.type for public_type in PUBLIC_TYPES}
    (channel,) = DOCUMENT["channels"].values()
    (operation,) = DOCUMENT["operations"].values()
    assert channel["address"] == "creditledger.events"
    assert set(channel["messages"]) == set(DOCUMENT["components"]["messages"]) == names
    assert operation["action"] == "send"
    assert referred(operation["channel"]["$ref"]) == channel
    told = [
        referred(referred(message["$ref"])["$ref"])["name"] for message in operation["messages"]
    ]
    assert sorted(told) == sorted(names)


@pytest.mark.parametrize("draft", [Draft7Validator, Draft202012Validator])
def test_every_schema_is_one_in_both_drafts(draft: Any) -> None:
    components = DOCUMENT["components"]
    for message in components["messages"].values():
        for schema in (message["headers"], message["payload"]):
            assert draft({**schema, "components": components})
    for schema in components["schemas"].values():
        assert draft({**schema, "components": components})


def test_every_object_may_grow_and_every_field_is_described() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        assert schema["additionalProperties"] is True
        assert schema["description"].strip()
        for name, field in schema["properties"].items():
            told = field.get("description") or "const" in field or name == "data"
            assert told, name
