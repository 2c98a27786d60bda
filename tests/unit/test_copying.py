"""Documents are packed as the server gives them back."""

from __future__ import annotations

import pytest

from creditledger.projections.copying import jsonb, jsonb_of_names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "bc": [{"x": None}, "y"]}, '{"a": 1, "bc": [{"x": null}, "y"]}'),
        ([], "[]"),
        ({}, "{}"),
        ({"sign": 'é "quoted"\n'}, '{"sign": "é \\"quoted\\"\\n"}'),
    ],
)
def test_a_document_is_packed_in_the_servers_form(value: object, text: str) -> None:
    document = text.encode()
    assert jsonb(value) == (len(document) + 1).to_bytes(4) + b"\1" + document


def test_names_are_packed_by_length_and_then_by_letters() -> None:
    packed = jsonb_of_names({"team": 1, "env": 2, "é": 3, "app": 4, "z": 5})
    assert packed[5:] == '{"z": 5, "é": 3, "app": 4, "env": 2, "team": 1}'.encode()


def test_what_is_not_there_is_null() -> None:
    assert jsonb_of_names(None) == jsonb(None) == b"\xff\xff\xff\xff"
