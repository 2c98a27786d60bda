"""Whatever the order of the news, the end is the same: what is true at the provider.

Each story is told in its natural order, and in every other that Hypothesis thinks of, with
repetitions, with other stories in between, and with spending. Each time, the log that came of it
is proved as `creditledger verify` proves it.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from body_story import LATE, MID_PERIOD, Body, NewsDesk
from creditledger.domain.amounts import Credits
from creditledger.domain.commands import DeductCredits
from provider_bodies import PLANS, PLOVER, TERN
from provider_stories import PACK, PACK_ID, STORIES

#: What the natural order comes to: the customer, what it can spend, and the payments' states.
ENDINGS: Final = {
    "a pack, refunded": (TERN, 0, ["refunded"]),
    "a refund that fails": (TERN, 450, ["partially_refunded"]),
    "a bank debit, its dispute won": (PLOVER, 2000, ["paid"]),
    "a bank debit, its dispute lost": (PLOVER, 0, ["charged_back"]),
    "an inquiry": (PLOVER, 2000, ["paid"]),
    "a late link": (PLOVER, 0, ["disputed"]),
    "a subscription": (TERN, 3000, ["paid", "paid", "partially_refunded"]),
    "up and down": (TERN, 700, ["disputed", "paid", "paid", "paid"]),
    "an order, refunded": (TERN, 0, ["refunded"]),
    "an order's refund that fails": (TERN, 400, ["partially_refunded"]),
    "a subscription at Polar": (TERN, 3600, ["paid", "paid", "paid"]),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_natural_order_comes_to_what_is_true(name: str) -> None:
    customer, available, statuses = ENDINGS[name]
    desk = NewsDesk(STORIES[name])
    assert desk.balance(customer_id=customer).available == available
    assert sorted(payment[2] for payment in desk.ending()["payments"]) == statuses
    assert desk.parked == []


@pytest.mark.parametrize("now", [MID_PERIOD, LATE], ids=["mid-period", "late"])
@pytest.mark.parametrize("name", STORIES)
@given(data=st.data())
def test_every_order_with_repetitions_ends_the_same(
    name: str, now: Any, data: st.DataObject
) -> None:
    story = STORIES[name]
    order = data.draw(st.permutations(story))
    again = data.draw(st.lists(st.sampled_from(story), max_size=4))
    assert NewsDesk([*order, *again], now=now).ending() == natural(name, now)


_NATURAL: dict[tuple[str, Any], Any] = {}


def natural(name: str, now: Any) -> Any:
    """What the natural order of a story comes to."""
    if (name, now) not in _NATURAL:
        _NATURAL[name, now] = NewsDesk(STORIES[name], now=now).ending()
    return _NATURAL[name, now]


@given(
    st.sets(st.sampled_from(sorted(STORIES)), min_size=2, max_size=3),
    st.randoms(use_true_random=False),
)
def test_stories_in_between_each_other_end_the_same(names: set[str], random: Any) -> None:
    bodies = [body for name in sorted(names) for body in STORIES[name]]
    ending = NewsDesk(bodies).ending()
    random.shuffle(bodies)
    assert NewsDesk(bodies).ending() == ending


@pytest.mark.parametrize("name", STORIES)
@given(data=st.data())
def test_with_spending_in_between_each_payment_nets_the_same(
    name: str, data: st.DataObject
) -> None:
    customer = ENDINGS[name][0]
    desk = NewsDesk(())
    for body in data.draw(st.permutations(STORIES[name])):
        desk.deliver(body)
        available = desk.balance(customer_id=customer).available
        if available and data.draw(st.booleans()):
            amount = Credits(data.draw(st.integers(1, available)))
            desk.tell(DeductCredits(customer_id=customer, amount=amount))
    undisturbed = NewsDesk(STORIES[name])
    assert desk.net() == undisturbed.net()
    assert desk.ending()["payments"] == undisturbed.ending()["payments"]


LEARNING: Final = tuple(
    body for body in PACK if "price.created" in body.name or PACK_ID in body.text
)


@given(st.permutations(LEARNING))
def test_what_was_bought_before_its_price_was_known_is_granted_in_the_end(
    order: list[Body],
) -> None:
    ending = NewsDesk(order, known=PLANS).ending()
    assert ending["payments"] == natural("a pack, refunded", MID_PERIOD)["payments"]
    assert ending["parked"] == []
