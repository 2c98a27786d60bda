"""Ids say where their event stands, have one spelling, and nothing else passes for one."""

from __future__ import annotations

from base64 import b32hexencode
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.domain import ids
from creditledger.domain.ids import EventRef

ADA = ids.account_id("ada", "credits")
ADA_KEY = ids.stream_key(ADA)
GRANT_7 = ids.event_id(ids.GRANT, ADA_KEY, 7)


def test_an_id_leads_to_its_event() -> None:
    assert ids.parse_event_id(ids.GRANT, GRANT_7) == EventRef(ADA, 7)


@given(st.uuids(), st.integers(1, 10**18 - 1))
def test_every_event_id_leads_back_to_where_it_came_from(stream: UUID, version: int) -> None:
    text = ids.event_id(ids.DEDUCTION, ids.stream_key(stream), version)
    assert ids.parse_event_id(ids.DEDUCTION, text) == EventRef(stream, version)


@given(st.uuids())
def test_every_stream_id_leads_back_to_its_stream(stream: UUID) -> None:
    assert ids.parse_stream_id(ids.PAYMENT, ids.stream_id(ids.PAYMENT, stream)) == stream


@given(st.from_regex(r"[a-z]{3}_[0-9a-v]{26}[0-9]{1,20}", fullmatch=True))
def test_what_parses_as_an_id_is_the_only_spelling_of_it(text: str) -> None:
    """One thing has one id, or a caller could act twice under two names."""
    ref = ids.parse_event_id(text[:3], text)
    if ref is not None:
        assert ids.event_id(text[:3], ids.stream_key(ref.stream), ref.version) == text


@given(st.text())
def test_any_text_is_an_id_or_not_and_never_an_error(text: str) -> None:
    ids.parse_event_id(ids.GRANT, text)
    ids.parse_stream_id(ids.PAYMENT, text)


FORGED = {
    "nothing": "",
    "another prefix": ids.event_id(ids.HOLD, ADA_KEY, 7),
    "no prefix": f"{ADA_KEY}7",
    "no version": f"grt_{ADA_KEY}",
    "version 0": f"grt_{ADA_KEY}0",
    "a leading zero": f"grt_{ADA_KEY}07",
    "a negative version": f"grt_{ADA_KEY}-7",
    "a version past any bigint": f"grt_{ADA_KEY}{10**18}",
    "a version in other digits": f"grt_{ADA_KEY}٧",
    "a newline after it": f"{GRANT_7}\n",
    "a space before it": f" {GRANT_7}",
    "capitals": GRANT_7.upper(),
    "a letter outside the alphabet": f"grt_{'w' * 26}7",
    "a short key": f"grt_{ADA_KEY[:25]}",
    "an accent": f"grt_{'é' * 26}7",
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED.keys())
def test_what_is_no_id_leads_nowhere(text: str) -> None:
    assert ids.parse_event_id(ids.GRANT, text) is None


def test_bits_past_the_uuid_are_not_an_id() -> None:
    """26 characters carry 130 bits and a UUID has 128: the two left over must be zero."""
    last = ADA_KEY[-1]
    other = "0123456789abcdefghijklmnopqrstuv"["0123456789abcdefghijklmnopqrstuv".index(last) ^ 1]
    assert ids.parse_event_id(ids.GRANT, f"grt_{ADA_KEY[:-1]}{other}7") is None
    assert ids.parse_stream_id(ids.PAYMENT, f"pay_{ADA_KEY[:-1]}{other}") is None


def test_a_customer_has_one_account_for_each_asset() -> None:
    accounts = {
        ids.account_id(customer, asset)
        for customer in ("ada", "bob", "tokens/ada")
        for asset in ("credits", "tokens")
    }
    assert len(accounts) == 6
    assert ids.account_id("ada", "credits") == ADA


def test_a_slash_in_a_customer_id_makes_no_other_customers_account() -> None:
    """The asset stands first and has no slash, so the two cannot run into each other."""
    assert ids.account_id("tokens/ada", "credits") != ids.account_id("ada", "tokens")
    assert ids.account_id("credits/ada", "credits") != ids.account_id("ada", "credits")


def test_a_receipt_belongs_to_the_client_and_its_key() -> None:
    receipts = {ids.receipt_uuid(client, key) for client in ("a", "b") for key in ("1", "2")}
    assert len(receipts) == 4
    assert ids.receipt_uuid("a", "1") in receipts


def test_streams_of_different_kinds_never_meet() -> None:
    streams = {
        ids.account_id("x", "y"),
        ids.payment_stream("y", "x"),
        ids.price_stream("y", "x"),
        ids.link_stream("y", "x"),
        ids.receipt_uuid("y", "x"),
        ids.trail_id("y/x"),
    }
    assert len(streams) == 6


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_streams_are_the_uuids_of_their_names(customer_id: str) -> None:
    """Stored for ever, so they are what RFC 9562 says, not only what this release computes."""
    namespace = UUID("5d1c1b4c-9f2a-5e0e-8a55-c4ed17f0a11e")
    assert ids.account_id(customer_id, "x") == uuid5(namespace, f"account/x/{customer_id}")


@given(st.uuids())
def test_a_streams_key_is_base_32_by_the_rfc(stream: UUID) -> None:
    assert ids.stream_key(stream) == b32hexencode(stream.bytes).decode().rstrip("=").lower()
