"""What Stripe's API is asked, on Stripe's own mock: it refuses calls that its API does not know."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from creditledger.infra.provider_lists import Listed, Passed, Patience, Window
from creditledger.infra.stripe_api import StripeApi
from creditledger.infra.stripe_lists import StripeLists
from stripe_mock import stripe_mock

NOW = datetime(2026, 11, 20, tzinfo=UTC)

#: The mock's canned objects are of 2009, some of them of any time.
ALWAYS = Window(datetime(1990, 1, 1, tzinfo=UTC), NOW)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with stripe_mock() as address:
        yield address


@pytest.fixture
def lists(address: str) -> Iterator[StripeLists]:
    found = StripeLists(
        "sk_test_mock",
        livemode=False,
        patience=Patience(wait_seconds_first=0.001),
        now=lambda: NOW,
        address=address,
    )
    yield found
    found.close()


def test_every_list_is_answered_with_what_is_expanded(lists: StripeLists) -> None:
    found = list(lists.read(ALWAYS))
    # A canned object may lack its time; that a whole list was refused would be our fault.
    assert not [each for each in found if isinstance(each, Passed) and each.whole_list]
    listed = [each for each in found if isinstance(each, Listed)]
    assert {"refunds", "disputes", "subscriptions"} <= {each.kind for each in listed}
    for each in listed:
        assert not isinstance(each.object.get("customer"), dict)
        assert lists.envelope(each, "reconcile:x")["data"] == {"object": each.object}


def test_the_mock_refuses_what_the_api_does_not_know(address: str) -> None:
    client = stripe.StripeClient("sk_test_mock", base_addresses={"api": address})
    unknown: Any = {"paid_after": 1}
    with pytest.raises(stripe.InvalidRequestError, match="additional properties"):
        client.v1.invoices.list(unknown)


def test_lines_are_asked_for_as_the_api_knows_it(address: str) -> None:
    api = StripeApi("sk_test_mock", address)
    assert list(api.session_lines("cs_test_a1"))
    assert list(api.invoice_lines("in_1"))
