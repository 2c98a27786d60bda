"""The public form of events: what the event feed, exports and the stream of events tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.answers import instant
from creditledger.domain.events import AccountEvent, Event

_TOPIC_PREFIX: Final = "creditledger."

#: Told beside `data`, not in it.
_COMMON: Final = frozenset({field.name for field in fields(AccountEvent)} - {"after"})

#: The id of what an event brings about, which its reader would otherwise have to work out.
_BRINGS_ABOUT: Final[Mapping[type[Event], tuple[str, str]]] = {
    e.Granted: ("grant_id", ids.GRANT),
    e.Held: ("hold_id", ids.HOLD),
    e.Deducted: ("deduction_id", ids.DEDUCTION),
    e.Refunded: ("refund_id", ids.REFUND),
    e.Revoked: ("revocation_id", ids.REVOCATION),
    e.Reinstated: ("reinstatement_id", ids.REINSTATEMENT),
}


def event_type(event_class: type[Event]) -> str:
    """The public name of a class of events: its topic without the prefix."""
    return event_class.TOPIC.removeprefix(_TOPIC_PREFIX)


def public_event(position: int, event: Event) -> dict[str, Any]:
    """An event as others are told it.

    `customer_id` and `asset` are None where the event is not about one. `data` holds the facts of
    its class, with the id of what it brought about and, for an account, the balance after it.
    """
    key = ids.stream_key(event.originator_id)
    data: dict[str, Any] = {}
    brings_about = _BRINGS_ABOUT.get(type(event))
    if brings_about is not None:
        name, prefix = brings_about
        data[name] = ids.event_id(prefix, key, event.originator_version)
    for field in fields(event):
        if field.name not in _COMMON:
            data[field.name] = _plain(getattr(event, field.name))
    context = event.context
    return {
        "event_id": ids.event_id(ids.EVENT, key, event.originator_version),
        "position": position,
        "type": event_type(type(event)),
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
        "data": data,
    }


def _plain(value: Any) -> Any:
    """The value in JSON's types."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    match value:
        case datetime():
            return instant(value)
        case UUID():
            return str(value)
        case tuple() | list():
            return [_plain(part) for part in value]
        case Mapping():
            return {name: _plain(part) for name, part in value.items()}
        case _:
            return value
