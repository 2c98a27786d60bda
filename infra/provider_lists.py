"""What reconciliation needs of a provider: its own lists, object by object, read patiently."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Any, Final, Protocol, TypeVar

from creditledger.domain.provider_commands import Provider

T = TypeVar("T")

#: Tries of one request, and the wait before the second of them; it doubles with each.
TRIES_MAX: Final = 6
_WAIT_SECONDS_FIRST: Final = 1.0

#: The longest wait that a provider may ask for; past it, the run is given up.
WAIT_SECONDS_MAX: Final = 60.0


class ProviderRefused(Exception):
    """The provider does not accept our key."""


class ProviderAway(Exception):
    """The provider cannot be reached, or asks for more patience than we have."""


class NotPermitted(Exception):
    """The key is right, but may not read this."""


class Unreadable(Exception):
    """An answer, or an object in it, is not what it should be."""


class Stopped(Exception):
    """We were told to stop in the middle."""


class Busy(Exception):
    """The provider may well answer later, in `seconds` if it said so."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


#: An id as providers make them; it becomes a part of a delivery's.
_ID = re.compile(r"[!-~]{1,150}")


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` to `until`, both aware."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as its provider lists it now.

    `type` is the newest event that would tell it and `at` (aware) when that would have been made.
    `recurs` says that it may come back to a state in which it was before.
    """

    kind: str
    type: str
    at: datetime
    object: Mapping[str, Any]
    recurs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """An object, or a whole list, that could not be read; the others were."""

    kind: str
    name: str
    detail: str
    whole_list: bool = False


class Lists(Protocol):
    """The lists of one provider."""

    @property
    def provider(self) -> Provider:
        """Whose lists they are."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is listed, in the order in which it is read."""

    def read(self, window: Window) -> Iterator[Listed | Passed]:
        """All that may have changed in a window.

        Raises ProviderRefused, ProviderAway and Stopped.
        """

    def envelope(self, listed: Listed, event_id: str) -> Mapping[str, Any]:
        """The event that would have told of it."""

    def close(self) -> None:
        """Let go of the connections."""


class Patience:
    """Asks again, later and later, where a provider is busy; gives up when `stop` is set."""

    def __init__(
        self, stop: Event | None = None, *, wait_seconds_first: float = _WAIT_SECONDS_FIRST
    ) -> None:
        self._stop = stop or Event()
        self._wait_seconds_first = wait_seconds_first

    def ask(self, question: Callable[[], T]) -> T:
        """What the question says that raises Busy where it is to be asked again.

        Raises ProviderAway after the last try, and Stopped.
        """
        for tried in range(TRIES_MAX):
            if self._stop.is_set():
                raise Stopped("told to stop")
            try:
                return question()
            except Busy as busy:
                seconds = self._wait_seconds_first * 2**tried
                if busy.seconds is not None:
                    seconds = busy.seconds
                if seconds > WAIT_SECONDS_MAX:
                    raise ProviderAway(f"{busy}; it asks to wait {seconds:.0f} s") from busy
                reason = busy
            if tried + 1 < TRIES_MAX:
                self._stop.wait(seconds)
        raise ProviderAway(f"{reason}; given up after {TRIES_MAX} tries") from reason


def guarded(kind: str, found: Iterator[Listed | Passed]) -> Iterator[Listed | Passed]:
    """What can be read of a list; that the rest cannot is told as well."""
    try:
        yield from found
    except (NotPermitted, Unreadable) as error:
        name = f"the list of {kind}"
        yield Passed(kind=kind, name=name, detail=str(error), whole_list=True)


def id_of(item: Mapping[str, Any]) -> str:
    """An object's id. Raises Unreadable."""
    found = item.get("id")
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise Unreadable(f"an object has the id {str(found)[:80]!r}")
    return found


def seconds_of(retry_after: str | None) -> float | None:
    """The wait that a Retry-After header asks for; None for a date, or where it says nothing."""
    if retry_after is None or not retry_after.isdecimal():
        return None
    return float(retry_after)
