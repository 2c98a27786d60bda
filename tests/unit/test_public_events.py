"""The public form of events: one schema for the feed and for Kafka, and nothing left out of it."""

from __future__ import annotations

import re
import types
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event
from jsonschema_rs import Draft202012Validator

from creditledger.api.asyncapi import document
from creditledger.domain import ids
from creditledger.domain.events import AccountEvent, Event
from creditledger.infra.mapper import EVENT_CLASSES
from creditledger.infra.settings import Settings
from creditledger.projections.feed import cloud_event, public_event
from creditledger.projections.public_form import Fact, PublicType, Shape
from creditledger.projections.public_types import PUBLIC_TYPES, public_type_of, shapes
from stored_events import EXAMPLES

POSITION = 4711
SOURCE = "/ledgers/eu"

#: Told by both envelopes, for every event.
IN_THE_ENVELOPE = {"originator_id", "originator_version", "recorded_at", "context"}

DOCUMENT = document(Settings())


def name(thing: type[Event] | Event | PublicType) -> str:
    if isinstance(thing, PublicType):
        return thing.schema_name
    return thing.__name__ if isinstance(thing, type) else type(thing).__name__


def data_validator(schema: str) -> Draft202012Validator:
    """Of one schema of the document, which may refer to others."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return Draft202012Validator(whole, validate_formats=True)


def message_validator(message: str) -> Draft202012Validator:
    """Of one message of the document, envelope and data."""
    whole = {**DOCUMENT["components"]["messages"][message]["payload"]}
    whole["components"] = DOCUMENT["components"]
    return Draft202012Validator(whole, validate_formats=True)


def may_be_null(schema: Mapping[str, Any]) -> bool:
    return "null" in schema.get("type", ()) or {"type": "null"} in schema.get("anyOf", ())


def told(facts: tuple[Fact, ...]) -> set[str | None]:
    return {fact.tells for fact in facts}


def objects(facts: tuple[Fact, ...], owner: Any) -> Iterator[tuple[Shape, Any]]:
    """Every object in the facts of an event, with the shape that it is told in."""
    for fact in facts:
        if fact.shape is not None and fact.tells is not None:
            found = getattr(owner, fact.tells)
            for one in found if isinstance(found, tuple) else (found,):
                if one is not None:
                    yield fact.shape, one
                    yield from objects(fact.shape.facts, one)


def test_every_class_that_may_stand_in_the_log_has_one_public_type() -> None:
    counted = Counter(public_type.event_class for public_type in PUBLIC_TYPES)
    missing = [event_class.__name__ for event_class in EVENT_CLASSES if not counted[event_class]]
    assert missing == [], "say in projections/public_types.py how these are told"
    assert set(counted) == set(EVENT_CLASSES)
    assert set(counted.values()) == {1}


def test_names_are_versioned_and_mean_one_thing() -> None:
    for public_type in PUBLIC_TYPES:
        assert re.fullmatch(r"creditledger\.[a-z_]+\.[a-z_]+\.v[1-9]", public_type.type)
    assert len({public_type.type for public_type in PUBLIC_TYPES}) == len(PUBLIC_TYPES)
    found = {
        id(shape)
        for event in EXAMPLES
        for shape, _ in objects(public_type_of(type(event)).facts, event)
    }
    assert found <= {id(shape) for shape in shapes()}, "two shapes have one name"


@pytest.mark.parametrize("event_class", EVENT_CLASSES, ids=name)
def test_all_that_is_stored_of_an_event_is_told(event_class: type[Event]) -> None:
    stored = {field.name for field in fields(event_class)} - IN_THE_ENVELOPE
    assert stored - told(public_type_of(event_class).facts) == set()


@pytest.mark.parametrize("event", EXAMPLES, ids=name)
def test_all_that_is_stored_of_what_stands_in_an_event_is_told(event: Event) -> None:
    for shape, one in objects(public_type_of(type(event)).facts, event):
        assert is_dataclass(one)
        assert {field.name for field in fields(one)} == told(shape.facts), shape.name


@pytest.mark.parametrize("event_class", EVENT_CLASSES, ids=name)
def test_a_schema_allows_null_where_the_class_does_and_nowhere_else(
    event_class: type[Event],
) -> None:
    hints = typing.get_type_hints(event_class)
    for fact in public_type_of(event_class).facts:
        if fact.tells == fact.name:
            optional = types.NoneType in typing.get_args(hints[fact.name])
            assert may_be_null(fact.schema) == optional, fact.name


@pytest.mark.parametrize("event", EXAMPLES, ids=name)
def test_data_conforms_to_its_schema_and_is_the_same_in_both_envelopes(event: Event) -> None:
    public_type = public_type_of(type(event))
    in_feed = orjson.loads(orjson.dumps(public_event(POSITION, event)))
    in_kafka = orjson.loads(orjson.dumps(cloud_event(POSITION, event, SOURCE)))
    assert in_feed["data"] == in_kafka["data"]
    assert in_feed["data_schema"] == in_kafka["dataschema"] == public_type.data_schema
    data_validator(public_type.schema_name).validate(in_feed["data"])
    assert list(in_feed["data"]) == [fact.name for fact in public_type.facts]


@pytest.mark.parametrize("event", EXAMPLES, ids=name)
def test_a_message_is_what_the_document_says_and_what_others_read(event: Event) -> None:
    public_type = public_type_of(type(event))
    value = orjson.dumps(cloud_event(POSITION, event, SOURCE))
    message_validator(public_type.type).validate(orjson.loads(value))
    read = from_structured_event(
        KafkaMessage({"content-type": b"application/cloudevents+json"}, None, value)
    )
    assert read.get_id() == public_event(POSITION, event)["event_id"]
    assert read.get_source() == SOURCE
    assert read.get_type() == public_type.type
    assert read.get_time() == event.recorded_at
    assert read.get_extension("position") == str(POSITION)
    assert read.get_extension("partitionkey") == ids.stream_key(event.originator_id)
    for attribute in read.get_attributes():
        assert re.fullmatch(r"[a-z0-9]{1,20}", attribute)


def test_what_does_not_fit_does_not_conform() -> None:
    good = cloud_event(POSITION, EXAMPLES[0], SOURCE)
    check = message_validator("creditledger.credits.granted.v1")
    assert check.is_valid({**good, "later": 1, "data": {**good["data"], "later": {"x": 1}}})
    assert not check.is_valid({**good, "type": "creditledger.credits.held.v1"})
    assert not check.is_valid({**good, "position": POSITION})
    for wrong in ({"amount": -1}, {"amount": "500"}, {"effective_at": "today"}, {"after": None}):
        assert not check.is_valid({**good, "data": {**good["data"], **wrong}}), wrong
    assert not check.is_valid({**good, "data": {"amount": 500}})


def test_sequences_have_the_order_of_positions() -> None:
    positions = (1, 9, 10, 2**53, 2**63 - 1)
    told = [cloud_event(position, EXAMPLES[0], SOURCE)["sequence"] for position in positions]
    assert sorted(told) == told


@pytest.mark.parametrize("event", EXAMPLES, ids=name)
def test_what_it_is_about_is_said_in_public_ids(event: Event) -> None:
    subject = cloud_event(POSITION, event, SOURCE)["subject"]
    assert str(event.originator_id) not in orjson.dumps(public_event(POSITION, event)).decode()
    if isinstance(event, AccountEvent):
        assert subject == f"accounts/{event.asset}/{event.customer_id}"
    else:
        assert re.fullmatch(r"(trails|payments|subscriptions|prices|products|links)/.+", subject)
