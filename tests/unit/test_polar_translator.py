"""What Polar's bodies say in whatever envelope, and whatever their fields hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creditledger.consumers.reading import Ignored, Told
from creditledger.domain.errors import Parked
from provider_bodies import event
from translating import damaged, ignored, parking, speaking, the_command, translated

PAID = "polar.order.paid.purchase"


class TestEnvelope:
    @pytest.mark.parametrize("kind", ["order.voided", "tea.brewed", None, 7])
    def test_unknown_types_are_ignored(self, kind: object) -> None:
        assert ignored(event(PAID) | {"type": kind}) == "unknown_type"

    @pytest.mark.parametrize("version", ["2026-04", "2026-10", "2027-01", None])
    def test_versions_that_are_read(self, version: object) -> None:
        assert the_command(event(PAID) | {"api_version": version})

    def test_a_body_from_before_versions_is_read(self) -> None:
        content = event(PAID)
        del content["api_version"]
        del content["timestamp"]
        assert the_command(content).refund_total.told_at is None

    @pytest.mark.parametrize("version", ["2028-01", "", 3, {"a": 1}])
    def test_other_versions_are_parked(self, version: object) -> None:
        content = event(PAID) | {"api_version": version}
        assert parking(content)["reason"] == "unsupported_version"


@settings(max_examples=600)
@given(data=st.data())
def test_whatever_a_field_holds_it_is_told_ignored_or_parked(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(speaking("polar")))
    try:
        outcome = translated(damaged(data, name))
    except Parked:
        return
    assert isinstance(outcome, Told | Ignored)
