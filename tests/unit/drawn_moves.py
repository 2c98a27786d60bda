"""Moves as Hypothesis draws them. Amounts are small, so that thresholds are met often."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from moves import (
    CUSTOMERS,
    PRICES,
    UNKNOWN,
    WHO,
    Capture,
    Deduct,
    Grant,
    MoveExpiry,
    PlaceHold,
    Purchase,
    Refund,
    Reinstate,
    Release,
    Revoke,
    SetLimit,
    Transfer,
)

# One account gets most of it, because what is interesting takes several steps on one.
who = st.sampled_from([*WHO[:1] * 12, *WHO])
customer = st.sampled_from(CUSTOMERS)
amount = st.integers(1, 9)
some = st.none() | amount | amount
at = st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5, 6, 7, UNKNOWN])
_instant, _minutes, _hours, _days, _weeks = (
    timedelta(microseconds=1),
    timedelta(minutes=10),
    timedelta(hours=20),
    timedelta(days=9),
    timedelta(days=40),
)
soon = st.sampled_from([_minutes, _hours, _days, _instant])
grants = st.builds(
    Grant,
    who=who,
    amount=st.integers(1, 15),
    source=st.sampled_from(["adjustment", "top_up", "promotion", "subscription"]),
    priority=st.sampled_from([None, None, 20]),
    starts_in=st.sampled_from([None, None, None, None, _hours, _minutes, _instant, -_hours]),
    ends_in=st.sampled_from([None, None, _weeks, _days, _hours, _minutes, _instant, 0 * _instant]),
)
purchases = st.builds(
    Purchase,
    customer=customer,
    payment=st.integers(1, 4),
    lines=st.lists(st.sampled_from(sorted(PRICES)), min_size=1, max_size=3).map(tuple),
    paid_ago=st.sampled_from([timedelta(0), timedelta(hours=3), timedelta(days=1)]),
)
deductions = st.builds(Deduct, who=who, amount=amount)
holds = st.builds(
    PlaceHold,
    who=who,
    amount=amount,
    seconds=st.sampled_from([None, 1, 3600, 30 * 86400, 30 * 86400 + 1, 0]),
)
captures = st.builds(Capture, who=who, at=at, amount=some, final=st.booleans())
releases = st.builds(Release, who=who, at=at)
refunds = st.builds(
    Refund, who=who, at=at, amount=some, policy=st.sampled_from(["grace", "expire"])
)
revocations = st.builds(
    Revoke, who=who, at=at, amount=some, policy=st.sampled_from([None, "debt", "write_off"])
)
reinstatements = st.builds(Reinstate, who=who, at=at, amount=some)
expiries = st.builds(MoveExpiry, who=who, at=at, ends_in=st.none() | soon | st.just(timedelta(0)))
limits = st.builds(SetLimit, who=who, limit=st.sampled_from([None, 0, 5, 12]))
transfers = st.builds(Transfer, who=who, to=customer, amount=amount)
moves = st.one_of(
    grants,
    purchases,
    deductions,
    holds,
    captures,
    releases,
    refunds,
    revocations,
    reinstatements,
    transfers,
)
ledger = st.integers(0, 1)

#: How far the clock may move at once, or be looked ahead.
waits = st.sampled_from([timedelta(seconds=1), _instant, _minutes, _hours, _days, _weeks])
