"""Questions to a provider's API, asked beside the worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event

import pytest

from creditledger.consumers.lookups import LookingUp, LookUps
from creditledger.domain.provider_commands import PurchaseLine
from webhook_desk import eventually

LINES = (PurchaseLine(price_id="price_1", quantity=1, amount=700),)


class Api:
    """An API that answers when it is let to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = Event()
        self.error: Exception | None = None

    def line_items(self, object_id: str) -> Sequence[PurchaseLine]:
        self.asked.append(object_id)
        self.answers.wait(10)
        if self.error is not None:
            raise self.error
        return LINES


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.answers.set()


@pytest.fixture
def look_ups(api: Api) -> Iterator[LookUps]:
    with LookUps(api.line_items) as look_ups:
        yield look_ups


def answered(look_ups: LookUps, object_id: str) -> Sequence[PurchaseLine]:
    """The answer, once it is there."""
    found: list[Sequence[PurchaseLine]] = []

    def is_there() -> bool:
        try:
            found.append(look_ups.line_items(object_id))
        except LookingUp:
            return False
        return True

    eventually(is_there)
    return found[0]


def test_nobody_waits_for_an_answer(api: Api, look_ups: LookUps) -> None:
    for _ in range(3):
        with pytest.raises(LookingUp):
            look_ups.line_items("cs_1")
    eventually(lambda: api.asked == ["cs_1"])
    api.answers.set()
    assert answered(look_ups, "cs_1") == LINES
    assert api.asked == ["cs_1"]


def test_an_answer_is_given_once_and_then_asked_for_again(api: Api, look_ups: LookUps) -> None:
    api.answers.set()
    for _ in range(2):
        assert answered(look_ups, "cs_1") == LINES
    assert api.asked == ["cs_1", "cs_1"]


def test_an_error_of_the_api_is_told_as_it_was(api: Api, look_ups: LookUps) -> None:
    api.error = ValueError("no such session")
    api.answers.set()
    with pytest.raises(ValueError, match="no such session"):
        answered(look_ups, "cs_1")


def test_a_slow_answer_holds_up_no_other_question(api: Api, look_ups: LookUps) -> None:
    for n in range(8):
        with pytest.raises(LookingUp):
            look_ups.line_items(f"cs_{n}")
    eventually(lambda: len(api.asked) == 8)


def test_no_more_is_remembered_than_there_is_room_for(
    api: Api, look_ups: LookUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("creditledger.consumers.lookups._REMEMBERED_MAX", 2)
    for n in range(4):
        with pytest.raises(LookingUp):
            look_ups.line_items(f"cs_{n}")
    eventually(lambda: len(api.asked) == 2)
    api.answers.set()
    assert answered(look_ups, "cs_3") == LINES
