"""The stored forms of events: kept for ever, so each is pinned by a golden file.

A test that fails here because a class was changed does not want a new golden file, but a new
version of the class with an upcaster (infra/mapper.py), and a further file beside the old one. A
field that came with a default needs no upcaster: the form without it moves to `golden/earlier`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from eventsourcing.persistence import MapperDeserialisationError, StoredEvent
from eventsourcing.utils import resolve_topic

from creditledger import domain
from creditledger.domain.amounts import Credits
from creditledger.domain.events import Event, HoldEnded
from creditledger.domain.payment_events import (
    PaidLine,
    PaymentGrant,
    PaymentGranted,
    PaymentRecorded,
    RefundReported,
    RefundTotalReported,
)
from creditledger.domain.price import PriceSet
from creditledger.domain.values import value
from creditledger.infra.mapper import EVENT_CLASSES, LedgerMapper
from stored_events import EXAMPLES

GOLDEN = Path(__file__).parent / "golden"
MAPPER = LedgerMapper()

BY_CLASS: dict[type[Any], Any] = {type(example): example for example in EXAMPLES}


def golden(event: Event) -> bytes:
    """What was stored of the event's class; the file ends with a newline, the form does not."""
    return (GOLDEN / f"{event.TOPIC}.json").read_bytes().removesuffix(b"\n")


def classes_with_topics() -> Iterator[type[Event]]:
    for info in pkgutil.iter_modules(domain.__path__):
        module = importlib.import_module(f"{domain.__name__}.{info.name}")
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, Event) and "TOPIC" in vars(thing):
                yield thing


@pytest.mark.parametrize("event_class", EVENT_CLASSES, ids=lambda event_class: event_class.__name__)
def test_an_event_is_stored_and_read_as_its_golden_file_says(event_class: type[Event]) -> None:
    event = BY_CLASS[event_class]
    assert MAPPER.encode(event) == golden(event)
    assert MAPPER.decode(event.TOPIC, golden(event)) == event


#: What each form lacks that was stored before its class was given further fields, and what is read
#: in their place.
EARLIER: dict[type[Event], dict[str, Any]] = {
    PaymentRecorded: {"subscription_id": None},
    PaymentGranted: {
        "lines": (PaidLine("price_Pack500", 2, "credits", 1000, period=None, proration=False),),
        "grants": (
            PaymentGrant(
                BY_CLASS[PaymentGranted].grants[0].grant_id,
                "credits",
                Credits(1000),
                period_end=None,
                withdrawn=Credits(0),
            ),
        ),
    },
    RefundReported: {"source": None},
    RefundTotalReported: {"source": None},
    PriceSet: {"terms": replace(BY_CLASS[PriceSet].terms, internal_id=None)},
}


@pytest.mark.parametrize("event_class", EARLIER, ids=lambda event_class: event_class.__name__)
def test_what_was_stored_before_a_field_came_is_read_without_it(event_class: type[Event]) -> None:
    stored = (GOLDEN / "earlier" / f"{event_class.TOPIC}.json").read_bytes()
    read = MAPPER.decode(event_class.TOPIC, stored)
    assert read == replace(BY_CLASS[event_class], **EARLIER[event_class])
    assert stored != golden(read)


def test_every_earlier_form_is_read() -> None:
    topics = {event_class.TOPIC for event_class in EARLIER}
    assert {file.stem for file in (GOLDEN / "earlier").iterdir()} == topics


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_example_leaves_no_field_at_its_default(event: Event) -> None:
    defaults = {field.name: field.default for field in fields(event)}
    for name, default in defaults.items():
        assert default is MISSING or getattr(event, name) != default, name


def test_every_event_class_of_the_domain_may_stand_in_the_log() -> None:
    assert set(classes_with_topics()) == set(EVENT_CLASSES)


def test_topics_are_one_for_each_class_and_every_golden_file_has_one() -> None:
    topics = {event_class.TOPIC for event_class in EVENT_CLASSES}
    assert len(topics) == len(EVENT_CLASSES)
    assert {file.stem for file in GOLDEN.glob("*.json")} == topics


@pytest.mark.parametrize("event_class", EVENT_CLASSES, ids=lambda event_class: event_class.__name__)
def test_the_library_resolves_a_topic_to_its_class(event_class: type[Event]) -> None:
    assert resolve_topic(event_class.TOPIC) is event_class


def test_the_library_gets_id_version_topic_state_and_time() -> None:
    event = EXAMPLES[0]
    stored = MAPPER.to_stored_event(event)
    assert stored.originator_id == event.originator_id
    assert stored.originator_version == event.originator_version
    assert stored.topic == "creditledger.Granted"
    assert stored.recorded_at == event.recorded_at
    assert MAPPER.to_domain_event(stored) == event


def test_an_unknown_topic_is_not_imported() -> None:
    stored = StoredEvent(EXAMPLES[0].originator_id, 1, "os:system", b"{}")
    with pytest.raises(MapperDeserialisationError, match="os:system"):
        MAPPER.to_domain_event(stored)


@pytest.mark.parametrize("state", [b"", b"[]", b"{}", b'{"how":"captured"}', b"\xff"])
def test_a_state_that_does_not_fit_is_refused(state: bytes) -> None:
    with pytest.raises(MapperDeserialisationError, match=HoldEnded.TOPIC):
        MAPPER.decode(HoldEnded.TOPIC, state)


def test_what_is_not_an_event_of_the_log_is_not_stored() -> None:
    class Stranger(HoldEnded):
        pass

    with pytest.raises(KeyError):
        MAPPER.encode(Stranger(**COMMON, how="captured"))


COMMON: dict[str, Any] = {
    field.name: getattr(BY_CLASS[HoldEnded], field.name) for field in fields(Event)
}


@value(kw_only=True)
class Measured(Event):
    """A class whose meaning has changed twice: feet became metres, then a unit was added."""

    TOPIC: ClassVar[str] = "creditledger.test.Measured"
    class_version: ClassVar[int] = 3

    metres: int
    unit: str

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["metres"] = state.pop("feet") * 3048 // 10_000

    @staticmethod
    def upcast_v2_v3(state: dict[str, Any]) -> None:
        state["unit"] = "m"


MEASURED = Measured(**COMMON, metres=3048, unit="m")
UPCASTING = LedgerMapper(event_classes=[Measured])


def _stored(**values: Any) -> bytes:
    """A form that an older or newer release has stored."""
    plain = msgspec.json.decode(UPCASTING.encode(MEASURED))
    for name in ("class_version", "metres", "unit"):
        del plain[name]
    return msgspec.json.encode({**values, **plain})


def test_the_form_of_a_changed_class_begins_with_its_version() -> None:
    assert UPCASTING.encode(MEASURED).startswith(b'{"class_version":3,"originator_id":')
    assert UPCASTING.decode(Measured.TOPIC, UPCASTING.encode(MEASURED)) == MEASURED


def test_older_forms_are_brought_up_step_by_step() -> None:
    assert UPCASTING.decode(Measured.TOPIC, _stored(feet=10_000)) == MEASURED
    assert UPCASTING.decode(Measured.TOPIC, _stored(class_version=2, metres=3048)) == MEASURED


@pytest.mark.parametrize("event_class", [Measured, HoldEnded])
def test_a_form_of_a_newer_release_is_refused(event_class: type[Event]) -> None:
    mapper = LedgerMapper(event_classes=[event_class])
    with pytest.raises(MapperDeserialisationError, match="as version 4 by a newer release"):
        mapper.decode(event_class.TOPIC, _stored(class_version=4, metres=3048, unit="m"))
