"""Events as they are stored, and back: JSON under an explicit topic.

The stored form is the event's dataclass, field by field in the order of their definition. It is
kept for ever, so every form is pinned by a file in `tests/unit/golden`. A class whose meaning has
changed says `class_version: ClassVar[int] = 2` and how the older form becomes the newer one, in
`upcast_v1_v2(state)`; its stored form then begins with that number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    Cipher,
    Compressor,
    JSONTranscoder,
    Mapper,
    MapperDeserialisationError,
    StoredEvent,
    Transcoder,
)
from eventsourcing.utils import register_topic

from creditledger.domain.billing import BILLING_EVENTS
from creditledger.domain.events import ACCOUNT_EVENTS, TRAIL_EVENTS, Event
from creditledger.domain.link import LINK_EVENTS
from creditledger.domain.payment_events import PAYMENT_EVENTS
from creditledger.domain.price import PRICE_EVENTS
from creditledger.domain.product import PRODUCT_EVENTS
from creditledger.domain.subscription import SUBSCRIPTION_EVENTS

#: Every class that may stand in the log.
EVENT_CLASSES: Final[tuple[type[Event], ...]] = (
    *ACCOUNT_EVENTS,
    *TRAIL_EVENTS,
    *PAYMENT_EVENTS,
    *PRICE_EVENTS,
    *LINK_EVENTS,
    *BILLING_EVENTS,
    *SUBSCRIPTION_EVENTS,
    *PRODUCT_EVENTS,
)

_VERSION_MARK: Final = b'{"class_version":'


@dataclass(frozen=True)
class RecordedEvent(StoredEvent):
    """A stored event with the time that stands in a column of its own."""

    recorded_at: datetime


class _Form:
    """How one event class is stored."""

    def __init__(self, event_class: type[Event]) -> None:
        self.event_class = event_class
        self.version: int = getattr(event_class, "class_version", 1)
        self.prefix = b"%b%d," % (_VERSION_MARK, self.version) if self.version > 1 else b""
        self._decoder = msgspec.json.Decoder(event_class)

    def read(self, state: bytes) -> Event:
        """The event behind a stored form of this version or an older one."""
        current = state.startswith(self.prefix) if self.prefix else state[:17] != _VERSION_MARK
        return self._decoder.decode(state) if current else self._upcast(msgspec.json.decode(state))

    def _upcast(self, plain: dict[str, Any]) -> Event:
        version = plain.pop("class_version", 1)
        if version > self.version:
            raise ValueError(
                f"it was stored as version {version} by a newer release, and the latest"
                f" here is {self.version}; install the newer release"
            )
        while version < self.version:
            getattr(self.event_class, f"upcast_v{version}_v{version + 1}")(plain)
            version += 1
        return msgspec.convert(plain, self.event_class)


class LedgerMapper(Mapper[UUID]):
    """Events of `event_classes` as the library's stored events, and back.

    Topics are looked up among these classes and never resolved by import. Raises
    MapperDeserialisationError where the topic is unknown or the state cannot be read.
    """

    def __init__(
        self,
        transcoder: Transcoder | None = None,
        compressor: Compressor | None = None,
        cipher: Cipher | None = None,
        *,
        event_classes: Iterable[type[Event]] = EVENT_CLASSES,
    ) -> None:
        if compressor is not None or cipher is not None:
            raise ValueError("the log is stored as plain JSON: set no compressor and no cipher")
        super().__init__(transcoder or JSONTranscoder())
        self._forms = {event_class.TOPIC: _Form(event_class) for event_class in event_classes}
        self._encoder = msgspec.json.Encoder()
        self._prefixes = {form.event_class: form.prefix for form in self._forms.values()}

    def encode(self, event: Event) -> bytes:
        """The stored form of an event. Raises KeyError where its class is not to be stored."""
        prefix = self._prefixes[type(event)]
        state = self._encoder.encode(event)
        return prefix + state[1:] if prefix else state

    def decode(self, topic: str, state: bytes) -> Event:
        """The event behind a topic and a stored form."""
        form = self._forms.get(topic)
        if form is None:
            raise MapperDeserialisationError(f"no event class has the topic {topic!r}")
        try:
            return form.read(state)
        except (msgspec.MsgspecError, ValueError) as error:
            raise MapperDeserialisationError(f"cannot read a stored {topic}: {error}") from error

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> RecordedEvent:
        """The event as the library stores it, with its time."""
        assert isinstance(domain_event, Event)
        return RecordedEvent(
            domain_event.originator_id,
            domain_event.originator_version,
            domain_event.TOPIC,
            self.encode(domain_event),
            domain_event.recorded_at,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Event:
        """The event behind one that the library has stored."""
        return self.decode(stored_event.topic, stored_event.state)


for _event_class in EVENT_CLASSES:
    register_topic(_event_class.TOPIC, _event_class)
