"""The AsyncAPI 3 document of the events that are published: what their readers are written from."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any, Final

from creditledger.infra.settings import Settings
from creditledger.projections.feed import SEQUENCE_DIGITS
from creditledger.projections.public_form import PublicType, Schema, reference
from creditledger.projections.public_types import PUBLIC_TYPES, shapes

CONTENT_TYPE: Final = "application/cloudevents+json"

_ENVELOPE: Final = "CloudEvent"
_CHANNEL: Final = "events"

_DESCRIPTION: Final = """
Every event of the ledger's log, as a CloudEvent 1.0 in structured mode.

* **At least once**: an event may come again, with the same `id` and `position`. Keep, with what is
  made of the events of a key, the highest position that is in it, and pass over what is not higher.
* **In order for each key**: the key is the stream of the event (`partitionkey`), which is an
  account (a customer's holding of one asset), a payment, a subscription, a price… The first
  appearances of its events have the order of their positions. Between keys there is no order.
* **From the beginning**: `GET /v1/events` has all of history, with the same `data`.
* **New fields** may be added to a type at any time, and new words where examples are listed; what
  would break a reader is a new version (`….v2`). Types that a reader does not know can be passed
  over.
* Credits and money are whole numbers (money in minor units), times RFC 3339 in UTC, ids opaque.
""".strip()


def document(settings: Settings) -> dict[str, Any]:
    """The document, with the topic as it is set."""
    names = [public_type.type for public_type in PUBLIC_TYPES]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Credit Ledger's events",
            "version": version("creditledger"),
            "description": _DESCRIPTION,
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            _CHANNEL: {
                "address": settings.kafka_events_topic,
                "description": "All events, each partition in order",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
                "bindings": {
                    "kafka": {"topic": settings.kafka_events_topic, "bindingVersion": "0.5.0"}
                },
            }
        },
        "operations": {
            "publishEvents": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_CHANNEL}"},
                "summary": "What has happened is told to whoever reads",
                "messages": [{"$ref": f"#/channels/{_CHANNEL}/messages/{name}"} for name in names],
            }
        },
        "components": {
            "messages": {public_type.type: _message(public_type) for public_type in PUBLIC_TYPES},
            "schemas": _schemas(),
        },
    }


def dumped(made: dict[str, Any]) -> str:
    """The document as text, as it is kept in docs/asyncapi.json."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _message(public_type: PublicType) -> dict[str, Any]:
    return {
        "name": public_type.type,
        "title": public_type.type,
        "summary": public_type.says,
        "contentType": CONTENT_TYPE,
        "headers": {
            "type": "object",
            "properties": {"content-type": {"type": "string", "examples": [CONTENT_TYPE]}},
            "required": ["content-type"],
        },
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "The stream, as in `partitionkey`"},
                "bindingVersion": "0.5.0",
            }
        },
        "payload": {
            "allOf": [
                reference(_ENVELOPE),
                {
                    "properties": {
                        "type": {"const": public_type.type},
                        "dataschema": {"const": public_type.data_schema},
                        "subject": {"examples": [public_type.subject]},
                        "data": reference(public_type.schema_name),
                    }
                },
            ]
        },
    }


def _schemas() -> dict[str, Schema]:
    return {
        _ENVELOPE: _envelope(),
        **{shape.name: shape.schema() for shape in shapes()},
        **{public_type.schema_name: public_type.schema() for public_type in PUBLIC_TYPES},
    }


def _envelope() -> Schema:
    required = {
        "specversion": {"const": "1.0"},
        "id": _text("The event's id, the same however often it comes"),
        "source": _text("The ledger that it comes from", format="uri-reference"),
        "type": _text("What has happened, with the version of its schema"),
        "subject": _text("What it has happened to"),
        "time": _text("When it was recorded", format="date-time"),
        "datacontenttype": {"const": "application/json"},
        "dataschema": _text("The name of the schema of `data`", format="uri"),
        "partitionkey": _text("The stream of the event; also the message's key"),
        "position": _text("Where it stands in the log, from 1", pattern="^[1-9][0-9]*$"),
        "sequence": _text(
            "The position once more, so that texts have its order",
            pattern=f"^[0-9]{{{SEQUENCE_DIGITS}}}$",
        ),
        "actor": _text("Who wished it: `client:<id>`, `provider:<name>` or `system:<name>`"),
        "causationid": _text("The receipt or delivery that led here; the actor where neither did"),
        "correlationid": _text("What the caller ties several commands together with"),
        "data": {"type": "object"},
    }
    happened_at = _text("When it happened outside, where that was told", format="date-time")
    return {
        "type": "object",
        "description": "The envelope: CloudEvents 1.0 in its JSON format",
        "properties": {**required, "happenedat": happened_at},
        "required": list(required),
        "additionalProperties": True,
    }


def _text(says: str, **more: str) -> Schema:
    return {"type": "string", "minLength": 1, "description": says, **more}
