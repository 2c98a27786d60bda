"""Bodies with something changed in them, and what they then say."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import strategies as st

from creditledger.consumers import polar, stripe
from creditledger.consumers.reading import Ignored, Told
from creditledger.domain.errors import Parked
from provider_bodies import BODIES, event


def translated(content: dict[str, Any]) -> Told | Ignored:
    """What a body of either provider says; Stripe's of its test environment."""
    if "livemode" in content or content.get("object") == "event":
        return stripe.translate(content, livemode=False)
    return polar.translate(content)


def told(content: dict[str, Any]) -> Told:
    """What a body says that is not ignored."""
    found = translated(content)
    assert isinstance(found, Told), found
    return found


def the_command(content: dict[str, Any]) -> Any:
    """The only command of a body."""
    [command] = told(content).commands
    return command


def ignored(content: dict[str, Any]) -> str:
    """Why a body is ignored."""
    found = translated(content)
    assert isinstance(found, Ignored), found
    return found.reason


def parking(content: dict[str, Any]) -> dict[str, Any]:
    """Why a body is parked."""
    with pytest.raises(Parked) as parked:
        translated(content)
    return dict(parked.value.values)


def altered(name: str, /, **fields: Any) -> dict[str, Any]:
    """A body with other values in its object."""
    content = event(name)
    subject(content).update(fields)
    return content


def subject(content: dict[str, Any]) -> dict[str, Any]:
    """The object that a body is about."""
    data: dict[str, Any] = content["data"]
    found: dict[str, Any] = data["object"] if content.get("object") == "event" else data
    return found


@cache
def speaking(provider: str) -> list[str]:
    """The names of a provider's bodies that say something."""
    names = sorted(path.stem for path in BODIES.glob(f"{provider}.*.json"))
    return [name for name in names if isinstance(translated(event(name)), Told)]


#: Any small piece of JSON, odd characters included.
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\0", "\ud800", "9" * 400, "-0", 10**30, -(10**30), 2**53, 0, ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def damaged(data: st.DataObject, name: str) -> dict[str, Any]:
    """A body in which one field, at any depth, holds something else."""
    content = event(name)
    places = list(_places(content))
    place = data.draw(st.sampled_from(places))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON_VALUES)
    return content


def _places(value: Any) -> list[dict[str, Any]]:
    """All objects in a body that have fields."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [place for item in inner for place in _places(item)]
    return [value, *found] if isinstance(value, dict) and value else found
