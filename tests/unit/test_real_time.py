"""An order that callers can tell is wrong is told to be wrong."""

from __future__ import annotations

import pytest

from real_time import Placed, assert_in_real_time_order


def placed(*told: tuple[float, float, int]) -> list[Placed]:
    return [Placed(asked, answered, position, None) for asked, answered, position in told]


def test_one_after_another() -> None:
    assert_in_real_time_order(placed((0, 1, 10), (2, 3, 10), (4, 5, 12)))


def test_at_the_same_time_in_any_order() -> None:
    assert_in_real_time_order(placed((0, 5, 12), (1, 4, 10), (2, 3, 11)))


def test_an_answer_at_the_very_moment_of_a_question_is_not_before_it() -> None:
    assert_in_real_time_order(placed((0, 1, 11), (1, 2, 10)))


def test_who_asked_after_an_answer_stands_before_it() -> None:
    with pytest.raises(AssertionError):
        assert_in_real_time_order(placed((0, 1, 11), (2, 3, 10)))


def test_however_long_ago_the_answer_was() -> None:
    with pytest.raises(AssertionError):
        assert_in_real_time_order(placed((0, 1, 11), (0, 4, 5), (2, 3, 12), (5, 6, 10)))
