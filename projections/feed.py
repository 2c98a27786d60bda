"""The public form of events, in its two envelopes: the event feed's, and CloudEvents 1.0.

`data` is the same in both, and conforms to the schema of its public type; the envelope says which
event it is, where it stands, and how it came about.
"""

from __future__ import annotations

from typing import Any, Final

from creditledger.domain import ids
from creditledger.domain.answers import instant
from creditledger.domain.events import Event
from creditledger.projections.public_types import public_type_of

_TOPIC_PREFIX: Final = "creditledger."

#: Digits of a position, so that positions as texts have the order of positions as numbers.
SEQUENCE_DIGITS: Final = 19


def event_type(event_class: type[Event]) -> str:
    """The feed's name of a class of events: its topic without the prefix."""
    return event_class.TOPIC.removeprefix(_TOPIC_PREFIX)


def public_event(position: int, event: Event) -> dict[str, Any]:
    """An event as the feed tells it.

    `customer_id` and `asset` are None where the event is not about one. `data` holds the facts of
    its class, with the id of what it brought about and, for an account, the balance after it.
    """
    key = ids.stream_key(event.originator_id)
    context = event.context
    public_type = public_type_of(type(event))
    return {
        "event_id": ids.event_id(ids.EVENT, key, event.originator_version),
        "position": position,
        "type": event_type(type(event)),
        "data_schema": public_type.data_schema,
        "stream": key,
        "version": event.originator_version,
        "customer_id": getattr(event, "customer_id", None),
        "asset": getattr(event, "asset", None),
        "recorded_at": instant(event.recorded_at),
        "happened_at": instant(context.happened_at),
        "actor": context.actor,
        "causation_id": context.causation_id,
        "correlation_id": context.correlation_id,
        "metadata": context.metadata,
        "data": public_type.data(event),
    }


def cloud_event(position: int, event: Event, source: str) -> dict[str, Any]:
    """An event as a CloudEvent, in its JSON format.

    Positions are texts, because CloudEvents' integers have 32 bits. `sequence`, `partitionkey`,
    `correlationid` and `causationid` are documented extensions of CloudEvents.
    """
    key = ids.stream_key(event.originator_id)
    context = event.context
    public_type = public_type_of(type(event))
    data = public_type.data(event)
    told: dict[str, Any] = {
        "specversion": "1.0",
        "id": ids.event_id(ids.EVENT, key, event.originator_version),
        "source": source,
        "type": public_type.type,
        "subject": public_type.subject.format_map(data),
        "time": instant(event.recorded_at),
        "datacontenttype": "application/json",
        "dataschema": public_type.data_schema,
        "partitionkey": key,
        "position": str(position),
        "sequence": str(position).zfill(SEQUENCE_DIGITS),
        "actor": context.actor,
        "causationid": context.causation_id,
        "correlationid": context.correlation_id,
    }
    if context.happened_at is not None:
        told["happenedat"] = instant(context.happened_at)
    told["data"] = data
    return told
