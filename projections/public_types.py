"""The public types of events: one for each class that may stand in the log.

A new class of events gets a row in the table of its kind. Names are `creditledger.<subject>.<what
happened>.v<version>`, in words of the domain, and stay when a class is renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from creditledger.domain.events import Event
from creditledger.projections.public_accounts import ACCOUNT_TYPES
from creditledger.projections.public_catalogue import CATALOGUE_TYPES
from creditledger.projections.public_form import Fact, PublicType, Shape
from creditledger.projections.public_payments import PAYMENT_TYPES

PUBLIC_TYPES: Final[tuple[PublicType, ...]] = (
    *ACCOUNT_TYPES,
    *PAYMENT_TYPES,
    *CATALOGUE_TYPES,
)

_BY_CLASS: Final[Mapping[type[Event], PublicType]] = {
    public_type.event_class: public_type for public_type in PUBLIC_TYPES
}


def public_type_of(event_class: type[Event]) -> PublicType:
    """How events of a class are told. Raises KeyError where nobody has said."""
    return _BY_CLASS[event_class]


def shapes() -> list[Shape]:
    """What stands in the facts of the public types, each once, in the order of their names."""
    facts = (fact for public_type in PUBLIC_TYPES for fact in public_type.facts)
    found = {shape.name: shape for shape in _shapes(facts)}
    return [found[name] for name in sorted(found)]


def _shapes(facts: Iterator[Fact]) -> Iterator[Shape]:
    for fact in facts:
        if fact.shape is not None:
            yield fact.shape
            yield from _shapes(iter(fact.shape.facts))
