"""Whoever sends what does not fit is told why in the words of the API, not of its libraries."""

from __future__ import annotations

from typing import Any, Final

import pytest

from api_server import Api, new_key

RELEASE: Final = {"type": "release", "hold_id": "x", "idempotency_key": "k"}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "The body is empty, and should be JSON."),
        (b" \n", "The body is not JSON: it ends too soon."),
        (b'{"amount": 5', "The body is not JSON: it ends too soon."),
        (b"amount=5", 'The body is not JSON: "a" does not fit at line 1, column 1.'),
        (b'{"amount": 5}}', 'The body is not JSON: "}" does not fit at line 1, column 14.'),
        (b'{"a": 1\n"b": 2}', 'The body is not JSON: "\\"" does not fit at line 2, column 1.'),
        (b'{"a": "b\n"}', 'The body is not JSON: "\\n" does not fit at line 1, column 9.'),
        (
            b'{"a": "b}',
            "The body is not JSON: the text that begins at line 1, column 7 has no end.",
        ),
        (b'{"amount": NaN}', "The body is not JSON: NaN is not a number."),
        (
            b'{"amount": ' + b"9" * 5_001 + b"}",
            "The body holds a number of more than 4300 digits.",
        ),
        (
            b'{"amount": 5, "amount": 5}',
            'The body has an object with the name "amount" more than once.',
        ),
        (
            b'{"\\ud800": 5, "\\ud800": 5}',
            'The body has an object with the name "\\ud800" more than once.',
        ),
        (
            b"\xef\xbb\xbf{}",
            "The body begins with a byte order mark. Send JSON without one.",
        ),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_why_a_body_cannot_be_read_is_said_in_plain_words(
    api: Api, body: bytes, detail: str
) -> None:
    headers = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}

    response = api.http.post("/v1/customers/c/grants", content=body, headers=headers)

    assert (response.status_code, response.json()["detail"]) == (400, detail)


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ([], "has 0 items, and needs at least 1"),
        ([RELEASE] * 1_001, "has 1001 items, and can have 1000 at most"),
        ([{}], "is missing"),
        (
            [{"type": "burn"}],
            (
                "should be one of grant, deduct, hold, capture, release, refund, revoke, "
                "reinstate, transfer"
            ),
        ),
        ([5], "should be an object"),
    ],
    ids=["none", "too many", "no type", "no such type", "no object"],
)
def test_why_a_batch_does_not_fit_is_said_in_plain_words(
    api: Api, commands: Any, reason: str
) -> None:
    response = api.post("/v1/batches", {"commands": commands})

    assert response.json()["reason"] == reason


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/v1/events?type=", "has 0 characters, and can have 1 to 64"),
        ("/v1/events?type=a-b", "should be a type's name, such as Deducted"),
        ("/v1/webhooks?reason=A", "should be a code: a-z and _"),
    ],
)
def test_why_a_filter_does_not_fit_is_said_in_plain_words(api: Api, path: str, reason: str) -> None:
    response = api.http.get(path)

    assert (response.status_code, response.json()["reason"]) == (422, reason)


@pytest.mark.parametrize(
    ("method", "path", "taken"),
    [
        ("DELETE", "/v1/grants/x", ["GET", "PATCH"]),
        ("PUT", "/v1/customers/c/holds", ["GET", "POST"]),
        ("POST", "/v1/customers/a%2Fb/overage", ["PUT"]),
        ("POST", "/v1/prices/stripe/price_1", ["PUT"]),
        ("POST", "/v1/prices", ["GET"]),
    ],
)
def test_all_methods_of_a_path_are_named(
    api: Api, method: str, path: str, taken: list[str]
) -> None:
    response = api.http.request(method, path)

    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == ", ".join(taken)
    assert response.json()["detail"] == f"This path takes {' and '.join(taken)}."
