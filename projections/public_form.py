"""Of what the public form of events is made: types of facts, each with its JSON Schema.

The schemas keep to keywords that mean the same in JSON Schema 2020-12 and in draft-07, which
AsyncAPI reads where nothing else is said. A fact is told whether there is something to tell or
not: where it may be null, its schema says so. Objects may hold more than is described.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final

from creditledger.domain import ids
from creditledger.domain.amounts import CREDITS_MAX
from creditledger.domain.answers import instant
from creditledger.domain.events import Event

Schema = dict[str, Any]

#: Before a schema's name in CloudEvents' `type`.
TYPE_PREFIX: Final = "creditledger."

#: Before a schema's name in `dataschema`.
SCHEMA_PREFIX: Final = "urn:creditledger:events:"

#: Of 64 bits, as PostgreSQL counts.
COUNT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Fact:
    """One field of a public form: its name, its schema, and how it is read from its owner."""

    name: str
    schema: Mapping[str, Any]
    read: Callable[[Any], Any]
    #: The stored field that it tells; None where it is made of the event's place in the log.
    tells: str | None = None
    #: What its objects are, where it tells any.
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """An object that stands in several facts; described once, under its name."""

    name: str
    says: str
    facts: tuple[Fact, ...]

    def read(self, value: Any) -> dict[str, Any]:
        """The object in JSON's types."""
        return {fact.name: fact.read(value) for fact in self.facts}

    def schema(self) -> Schema:
        """What its objects conform to."""
        return described(self.says, self.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicType:
    """How one class of events is told to others: one schema, under a name with a version.

    Facts may be added to a version. Whatever would break a reader is a new version, in which all
    of history is told from then on. `subject` is a template over the data: what it is about.
    """

    event_class: type[Event]
    name: str
    subject: str
    facts: tuple[Fact, ...]
    version: int = 1

    @property
    def schema_name(self) -> str:
        """The name of the schema, under which AsyncAPI's components have it."""
        return f"{self.name}.v{self.version}"

    @property
    def type(self) -> str:
        """CloudEvents' type."""
        return f"{TYPE_PREFIX}{self.schema_name}"

    @property
    def data_schema(self) -> str:
        """The URI that names the schema: it says which one, and is no address."""
        return f"{SCHEMA_PREFIX}{self.schema_name}"

    @property
    def says(self) -> str:
        """What has happened, in a sentence."""
        return (self.event_class.__doc__ or "").partition("\n")[0]

    def data(self, event: Event) -> dict[str, Any]:
        """What an event of the class tells, in JSON's types."""
        return {fact.name: fact.read(event) for fact in self.facts}

    def schema(self) -> Schema:
        """What `data` conforms to."""
        return {"$id": self.data_schema, **described(self.says, self.facts)}


def described(says: str, facts: tuple[Fact, ...]) -> Schema:
    """The schema of an object with these facts, and perhaps more."""
    return {
        "type": "object",
        "description": says,
        "properties": {fact.name: dict(fact.schema) for fact in facts},
        "required": [fact.name for fact in facts],
        "additionalProperties": True,
    }


def reference(name: str) -> Schema:
    """A reference to a schema that is described once."""
    return {"$ref": f"#/components/schemas/{name}"}


def fact(
    name: str,
    schema: Schema,
    says: str,
    *,
    null: bool = False,
    of: str | None = None,
    read: Callable[[Any], Any] | None = None,
    shape: Shape | None = None,
) -> Fact:
    """A fact that tells the stored field of its name, or the one named by `of`."""
    field = of or name
    plain = attrgetter(field)

    def converted(owner: Any, read: Callable[[Any], Any]) -> Any:
        found = plain(owner)
        return None if found is None else read(found)

    value = plain if read is None else partial(converted, read=read)
    return Fact(name, _nullable(schema, says, null), value, field, shape)


def _nullable(schema: Schema, says: str, null: bool) -> Schema:
    if "$ref" in schema:
        choices = [schema, {"type": "null"}] if null else [schema]
        return {"description": says, "anyOf" if null else "allOf": choices}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kinds = [*kinds, "null"] if null else kinds
    return {**schema, "type": kinds if len(kinds) > 1 else kinds[0], "description": says}


def amount(name: str, says: str, *, null: bool = False) -> Fact:
    """Credits: a whole number."""
    schema = {"type": "integer", "minimum": 0, "maximum": CREDITS_MAX}
    return fact(name, schema, f"{says} (credits)", null=null)


def change(name: str, says: str) -> Fact:
    """Credits that come or go: a whole number, below zero where they go."""
    schema = {"type": "integer", "minimum": -CREDITS_MAX, "maximum": CREDITS_MAX}
    return fact(name, schema, f"{says} (credits)")


def minor_units(name: str, says: str, *, null: bool = False) -> Fact:
    """Money without its currency: a whole number of minor units."""
    schema = {"type": "integer", "minimum": 0, "maximum": COUNT_MAX}
    return fact(name, schema, f"{says} (minor units)", null=null)


def count(name: str, says: str, *, null: bool = False) -> Fact:
    """A whole number of anything else."""
    return fact(name, {"type": "integer", "minimum": 0, "maximum": COUNT_MAX}, says, null=null)


def text(name: str, says: str, *, null: bool = False, of: str | None = None) -> Fact:
    """Free text, or an id, which is opaque."""
    return fact(name, {"type": "string"}, says, null=null, of=of)


def word(name: str, known: tuple[str, ...], says: str, *, null: bool = False) -> Fact:
    """One of some words, to which others may be added; those known today are its examples."""
    return fact(name, {"type": "string", "examples": list(known)}, says, null=null)


def flag(name: str, says: str) -> Fact:
    """True or false."""
    return fact(name, {"type": "boolean"}, says)


def moment(name: str, says: str, *, null: bool = False) -> Fact:
    """A time: RFC 3339 in UTC with microseconds."""
    return fact(name, {"type": "string", "format": "date-time"}, says, null=null, read=instant)


def one(name: str, shape: Shape, says: str, *, null: bool = False) -> Fact:
    """One object."""
    return fact(name, reference(shape.name), says, null=null, read=shape.read, shape=shape)


def many(name: str, shape: Shape, says: str) -> Fact:
    """Objects in order, perhaps none."""
    schema = {"type": "array", "items": reference(shape.name)}

    def read(found: Any) -> list[dict[str, Any]]:
        return [shape.read(value) for value in found]

    return fact(name, schema, says, read=read, shape=shape)


def trail_key() -> Fact:
    """Which trail it is: the key of its stream, for it has no other public id."""

    def read(event: Any) -> str:
        return ids.stream_key(event.originator_id)

    return Fact("trail", {"type": "string", "description": "Which trail it is"}, read)


def brought_about(name: str, prefix: str, says: str) -> Fact:
    """The id of what the event brought about."""

    def read(event: Any) -> str:
        return ids.event_id(prefix, ids.stream_key(event.originator_id), event.originator_version)

    return Fact(name, {"type": "string", "description": says}, read)


def derived(
    name: str, tells: str, read: Callable[[Any], str | None], says: str, *, null: bool = False
) -> Fact:
    """An id of ours, made of the stored field `tells`."""
    return Fact(name, _nullable({"type": "string"}, says, null), read, tells)


def whole_stream(name: str, prefix: str, says: str) -> Fact:
    """The id of what all events of the stream are about."""

    def read(event: Any) -> str:
        return ids.stream_id(prefix, event.originator_id)

    return Fact(name, {"type": "string", "description": says}, read)


def metadata() -> Fact:
    """What the caller attached to the command."""
    schema = {
        "type": ["object", "null"],
        "description": "What the caller attached to the command",
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    }
    return Fact("metadata", schema, lambda event: event.context.metadata)
