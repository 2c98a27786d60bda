"""A body is JSON in UTF-8 on every route that takes one, whether or not its headers say so."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import httpx
import pytest

from api_server import Api, new_key


class Call(NamedTuple):
    """A request to a route, a body that it takes, and the status of its answer to that."""

    method: str
    path: str
    body: bytes
    status: int


#: Of each way in which bodies are read.
CALLS = [
    Call("POST", "/v1/customers/c/grants", b'{"amount": 5}', 201),
    Call("POST", "/v1/holds/x/release", b"{}", 404),
    Call("POST", "/v1/batches", b'{"commands": [{"type": "release", "hold_id": "x", %s}]}', 200),
    Call("PUT", "/v1/prices/stripe/price_1", b'{"credits": 5}', 200),
    Call("PUT", "/v1/links/stripe/cus_1", b'{"customer_id": "c"}', 200),
    Call("POST", "/v1/webhooks/whd_1/assign", b'{"customer_id": "c"}', 404),
]

each_way = pytest.mark.parametrize("call", CALLS, ids=[call.path for call in CALLS])


def send(api: Api, call: Call, **headers: str) -> httpx.Response:
    """Send these bytes under a new key, with no Content-Type but one that is given."""
    sent = {"Idempotency-Key": new_key()}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    item_key = b'"idempotency_key": "%s"' % new_key().encode()
    body = call.body.replace(b"%s", item_key)
    return api.http.request(call.method, call.path, content=body, headers=sent)


@each_way
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.ledger+json",
    ],
)
def test_json_is_taken_by_any_of_its_names_or_none(
    api: Api, call: Call, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    response = send(api, call, **headers)

    assert response.status_code == call.status, response.text


@each_way
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/jsonx",
        "*/*",
        "nonsense",
    ],
)
def test_a_body_that_is_sent_as_something_else_is_refused_with_what_to_send(
    api: Api, call: Call, content_type: str
) -> None:
    head = api.head()

    response = send(api, call, Content_Type=content_type)

    problem = response.json()
    assert (response.status_code, problem["code"]) == (415, "unsupported_media_type")
    assert problem["detail"] == "Send the body as application/json, in UTF-8."
    assert problem["content_type"] == content_type
    assert api.head() == head


@each_way
def test_a_compressed_body_is_refused(api: Api, call: Call) -> None:
    response = send(api, call, Content_Encoding="gzip")

    problem = response.json()
    assert (response.status_code, problem["code"]) == (415, "unsupported_media_type")
    assert problem["content_encoding"] == "gzip"


@each_way
@pytest.mark.parametrize("sent", [b" ", b"{", b"amount=5"])
def test_what_is_not_json_is_malformed(api: Api, call: Call, sent: bytes) -> None:
    response = send(api, call._replace(body=sent))

    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


@each_way
@pytest.mark.parametrize(("sent", "content_type"), [(b"{", None), (b"{}", "text/plain")])
def test_who_may_not_ask_is_told_that_before_what_is_wrong_with_the_body(
    api: Api, call: Call, sent: bytes, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    wrong = call._replace(body=sent)
    with httpx.Client(base_url=api.url) as nobody, api.client_with("events") as reader:
        unknown = send(replace(api, http=nobody), wrong, **headers)
        not_permitted = send(replace(api, http=reader), wrong, **headers)

    assert unknown.json()["code"] == "unauthenticated"
    assert not_permitted.json()["code"] == "forbidden"
