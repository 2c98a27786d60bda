"""What does not fit is refused with the field and the reason, and nothing is done."""

from __future__ import annotations

import json
import socket
import unicodedata
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api_server import Api, new_customer, new_key

MAX = 2**53 - 1


def send(api: Api, body: bytes, **headers: str) -> httpx.Response:
    """A grant with these bytes as its body; nothing of it may be booked."""
    head = api.head()
    sent = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/v1/customers/{new_customer()}/grants"
    response = api.http.post(path, content=body, headers=sent)
    assert response.headers["content-type"] == "application/problem+json"
    assert api.head() == head
    return response


def code_and_field(response: httpx.Response) -> tuple[int, str, str | None]:
    problem = response.json()
    return response.status_code, problem["code"], problem.get("field")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"amount": 5',
        b"amount=5",
        b'{"amount": 5}}',
        b"{'amount': 5}",
        b'{"amount": 05}',
        b'{"amount": +5}',
        b'{"amount": NaN}',
        b'{"amount": Infinity}',
        b'{"amount": -Infinity}',
        b'{"amount": 5, "metadata": {"x": NaN}}',
        b'{"amount": 5, "amount": 6}',
        b'{"amount": 5, "metadata": {"a": 1, "a": 1}}',
        b'{"amount": 5, "\\u0061mount": 6}',
        b'{"amount": 5, "reference": "\xff"}',
        b'{"amount": 5, "reference": "\xed\xa0\x80"}',
        b'{"amount": 5, "reference": "\\ud800"}',
        b'{"amount": 5, "metadata": {"\\udfff": 1}}',
        b'{"amount": 5, "reference": "a\x00b"}',
        b"\xef\xbb\xbf" + b'{"amount": 5}',
        '{"amount": 5}'.encode("utf-16"),
        b'{"amount": ' + b"9" * 5_000 + b"}",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"metadata": ' * 10_000 + b"1" + b"}" * 10_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_not_json_is_malformed(api: Api, body: bytes) -> None:
    assert code_and_field(send(api, body)) == (400, "malformed_request", None)


GRANT_MISFITS: list[tuple[str, Any, str]] = [
    ("amount", None, "amount"),
    ("amount", 0, "amount"),
    ("amount", -1, "amount"),
    ("amount", MAX + 1, "amount"),
    ("amount", 2**64, "amount"),
    ("amount", 5.0, "amount"),
    ("amount", 5.5, "amount"),
    ("amount", "5", "amount"),
    ("amount", "١٢", "amount"),
    ("amount", True, "amount"),
    ("amount", [5], "amount"),
    ("amount", {"value": 5}, "amount"),
    ("asset", "", "asset"),
    ("asset", "Credits", "asset"),
    ("asset", "1st", "asset"),
    ("asset", "a" * 33, "asset"),
    ("asset", "credits\n", "asset"),
    ("asset", "crédits", "asset"),
    ("asset", None, "asset"),
    ("asset", 5, "asset"),
    ("source", "nobody", "source"),
    ("source", "transfer", "source"),
    ("source", "", "source"),
    ("expires_at", "2100-01-01T00:00:00", "expires_at"),
    ("expires_at", "2100-01-01", "expires_at"),
    ("expires_at", "2100-02-30T00:00:00Z", "expires_at"),
    ("expires_at", "2100-01-01T00:00:00+24:00", "expires_at"),
    ("expires_at", "2100-01-01 00:00:00Z", "expires_at"),
    ("expires_at", "٢١٠٠-01-01T00:00:00Z", "expires_at"),
    ("expires_at", "9999-12-31T23:59:59-23:59", "expires_at"),
    ("expires_at", "0001-01-01T00:00:00+23:59", "expires_at"),
    ("expires_at", 4102444800, "expires_at"),
    ("expires_at", "2020-01-01T00:00:00Z", "expires_at"),
    ("effective_at", "soon", "effective_at"),
    ("expires_after_days", 0, "expires_after_days"),
    ("expires_after_days", 36_501, "expires_after_days"),
    ("expires_after_days", 1.5, "expires_after_days"),
    ("priority", -1, "priority"),
    ("priority", 1_000_001, "priority"),
    ("cost_basis", 5, "cost_basis"),
    ("cost_basis", {"amount": 5}, "cost_basis.currency"),
    ("cost_basis", {"amount": -5, "currency": "EUR"}, "cost_basis.amount"),
    ("cost_basis", {"amount": 5, "currency": "eur"}, "cost_basis.currency"),
    ("cost_basis", {"amount": 5, "currency": "EURO"}, "cost_basis.currency"),
    ("cost_basis", {"amount": 5, "currency": "EUR", "vat": 1}, "cost_basis.vat"),
    ("reference", "", "reference"),
    ("reference", "a" * 256, "reference"),
    ("reference", "a\u0000b", "reference"),
    ("reference", "a\u200bb", "reference"),
    ("reference", 17, "reference"),
    ("happened_at", "2100-01-01T00:00:00Z", "happened_at"),
    ("metadata", [], "metadata"),
    ("metadata", "x", "metadata"),
    ("metadata", {"x": {}}, "metadata"),
    ("metadata", {"x": []}, "metadata"),
    ("metadata", {"x": "a" * 501}, "metadata"),
    ("metadata", {"x": "a\u0000"}, "metadata"),
    ("metadata", {"x" * 65: 1}, "metadata"),
    ("metadata", {"": 1}, "metadata"),
    ("metadata", {"a\u0000": 1}, "metadata"),
    ("metadata", {"x": 2**53}, "metadata"),
    ("metadata", {str(n): n for n in range(51)}, "metadata"),
    ("customer_id", "acme", "customer_id"),
    ("Amount", 5, "Amount"),
    ("__class__", 5, "__class__"),
]


@pytest.mark.parametrize(("name", "value", "field"), GRANT_MISFITS)
def test_a_field_that_does_not_fit_is_named(api: Api, name: str, value: Any, field: str) -> None:
    body = json.dumps({"amount": 5, name: value}).encode()

    response = send(api, body)

    assert code_and_field(response) == (422, "invalid_request", field)
    assert response.json()["reason"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "amount"),
        (b"[]", "body"),
        (b"5", "body"),
        (b"null", "body"),
        (b'"amount"', "body"),
        (b'{"amount": 1e400}', "amount"),
        (b'{"amount": -0}', "amount"),
        (b'{"amount": 1e2}', "amount"),
        (b'{"amount": 5, "metadata": {"x": 1e400}}', "metadata"),
        (b'{"amount": 5, "metadata": {"x": -1e400}}', "metadata"),
    ],
)
def test_json_that_is_no_such_object_is_invalid(api: Api, body: bytes, field: str) -> None:
    assert code_and_field(send(api, body)) == (422, "invalid_request", field)


def test_all_that_does_not_fit_is_told_at_once(api: Api) -> None:
    response = send(api, b'{"amount": 0, "asset": "", "colour": "red"}')

    told = {error["field"] for error in response.json()["errors"]}
    assert told == {"amount", "asset", "colour"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"amount": 1}, 201),
        ({"amount": MAX}, 201),
        ({"amount": 1, "asset": "a" + "_" * 31}, 201),
        ({"amount": 1, "reference": "漢" * 255}, 201),
        ({"amount": 1, "metadata": {str(n): n for n in range(50)}}, 201),
        ({"amount": 1, "metadata": {"👩‍🚀" * 16: "ü" * 500, "n": -MAX, "f": 0.1}}, 201),
        ({"amount": 1, "expires_at": "2100-01-01t00:00:00.123456789z"}, 201),
        ({"amount": 1, "expires_at": "2100-01-01T00:00:00+05:30"}, 201),
        ({"amount": 1, "expires_after_days": 36_500, "priority": 0}, 201),
    ],
)
def test_what_just_fits_is_accepted(api: Api, body: dict[str, Any], status: int) -> None:
    response = api.post(f"/v1/customers/{new_customer()}/grants", body)

    assert response.status_code == status, response.text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/customers/c/holds", {"amount": 5, "expires_in": 0}, "expires_in"),
        ("/v1/customers/c/holds", {"amount": 5, "expires_in": 2_592_001}, "expires_in"),
        ("/v1/customers/c/deductions", {"amount": 5, "feature": ""}, "feature"),
        ("/v1/customers/c/deductions", {"amount": 5, "feature": "f" * 129}, "feature"),
        ("/v1/customers/c/deductions", {"amount": 5, "feature": "a\nb"}, "feature"),
        ("/v1/deductions/d/refunds", {"expired_lots": "keep"}, "expired_lots"),
        ("/v1/deductions/d/refunds", {"reason": "r" * 501}, "reason"),
        ("/v1/deductions/d/refunds", {"amount": 0}, "amount"),
        ("/v1/holds/h/capture", {"final": 1}, "final"),
        ("/v1/holds/h/capture", {"final": "false"}, "final"),
        ("/v1/holds/h/capture", {"amount": 0}, "amount"),
        ("/v1/grants/g/revocations", {"policy": "forgive"}, "policy"),
        ("/v1/transfers", {"from_customer_id": "a", "amount": 5}, "to_customer_id"),
        (
            "/v1/transfers",
            {"from_customer_id": "a", "to_customer_id": "a", "amount": 5},
            "to_customer_id",
        ),
        (
            "/v1/transfers",
            {"from_customer_id": "", "to_customer_id": "a", "amount": 5},
            "from_customer_id",
        ),
    ],
)
def test_other_commands_have_their_limits(
    api: Api, path: str, body: dict[str, Any], field: str
) -> None:
    response = api.post(path, body)

    assert code_and_field(response) == (422, "invalid_request", field)


def test_a_limit_of_overage_and_an_expiry_must_be_said(api: Api) -> None:
    overage = api.command("PUT", "/v1/customers/c/overage", {})
    expiry = api.command("PATCH", "/v1/grants/g", {})

    assert code_and_field(overage) == (422, "invalid_request", "limit")
    assert code_and_field(expiry) == (422, "invalid_request", "expires_at")


# Customers in the path.


@pytest.mark.parametrize(
    ("sent", "customer"),
    [
        ("acme", "acme"),
        ("a%2Fb", "a/b"),
        ("%2F", "/"),
        ("a%2fb%2F%2Fc", "a/b//c"),
        ("a%252Fb", "a%2Fb"),
        ("user@example.com", "user@example.com"),
        ("%C3%BC%E6%BC%A2", "ü漢"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("a%3Fb%23c", "a?b#c"),
        ("x" * 128, "x" * 128),
        ("%F0%9F%9A%80" * 128, "🚀" * 128),
    ],
)
def test_a_customer_may_have_any_printable_id(api: Api, sent: str, customer: str) -> None:
    done = api.post(f"/v1/customers/{sent}/grants", {"amount": 5, "asset": "tries"})
    found = api.http.get(f"/v1/customers/{sent}/balance?consistency=exact")

    assert done.status_code == 201, done.text
    assert found.json()["customer_id"] == customer
    assert found.json()["balances"][0]["available"] >= 5


def test_an_id_is_compared_by_its_characters_as_they_are_sent(api: Api) -> None:
    """1.1: an accented letter as one character, and as two."""
    ids = [unicodedata.normalize(form, f"Zoë {new_customer()}") for form in ("NFC", "NFD")]
    for customer, amount in zip(ids, (5, 7), strict=True):
        api.granted(customer, amount)

    told = [api.http.get(f"/v1/customers/{customer}/balance?consistency=exact") for customer in ids]

    assert [one.json()["customer_id"] for one in told] == ids
    assert [one.json()["balances"][0]["available"] for one in told] == [5, 7]


@pytest.mark.parametrize(
    "sent",
    [
        "%00",
        "a%0Ab",
        "a%7F",
        "a%C2%85",
        "a%E2%80%8Bb",
        "%E2%80%AE",
        "%ED%A0%80",
        "%FF",
        "%C3",
        "x" * 129,
        "%F0%9F%9A%80" * 129,
    ],
)
@pytest.mark.parametrize("route", ["grants", "balance"])
def test_a_customer_that_is_not_printable_is_refused(api: Api, sent: str, route: str) -> None:
    path = f"/v1/customers/{sent}/{route}"

    response = api.post(path, {"amount": 5}) if route == "grants" else api.http.get(path)

    assert code_and_field(response) == (422, "invalid_request", "customer_id")


@pytest.mark.parametrize("path", ["/v1/customers//grants", "/v1/customers/a/b/grants", "/v2"])
def test_a_path_that_is_no_route_is_not_found(api: Api, path: str) -> None:
    response = api.post(path, {"amount": 5})

    assert code_and_field(response) == (404, "not_found", None)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "TRACE", "OPTIONS"])
def test_a_method_that_the_path_does_not_take_is_refused(api: Api, method: str) -> None:
    response = api.http.request(method, "/v1/customers/c/grants")

    assert code_and_field(response) == (405, "method_not_allowed", None)
    assert response.headers["allow"] == "POST"


# Ids of things.


@pytest.mark.parametrize(
    "made_up",
    [
        "hld_",
        "grt_000000000000000000000000001",
        "hld_000000000000000000000000000",
        "hld_zzzzzzzzzzzzzzzzzzzzzzzzzz1",
        "hld_00000000000000000000000000999999999999999999",
        "hld_000000000000000000000000009999999999999999999999",
        "HLD_000000000000000000000000001",
        "%2e%2e",
        "'; drop table holds; --",
        "%F0%9F%9A%80",
        "١",
    ],
)
def test_an_id_that_names_nothing_is_not_found(api: Api, made_up: str) -> None:
    captured = api.post(f"/v1/holds/{made_up}/capture")
    looked_up = api.http.get(f"/v1/holds/{made_up}")

    assert code_and_field(captured) == (404, "hold_not_found", None)
    assert code_and_field(looked_up) == (404, "hold_not_found", None)


@pytest.mark.parametrize("what", ["grants", "deductions", "holds", "receipts", "payments"])
def test_each_thing_that_is_not_there_has_its_own_code(api: Api, what: str) -> None:
    response = api.http.get(f"/v1/{what}/nothing")

    assert code_and_field(response) == (404, f"{what[:-1]}_not_found", None)


def test_an_id_of_another_kind_does_not_lead_to_its_event(api: Api) -> None:
    granted = api.granted(new_customer(), 5)["grant_id"]
    as_hold = granted.replace("grt_", "hld_")
    as_deduction = granted.replace("grt_", "ded_")

    assert api.post(f"/v1/holds/{as_hold}/capture").status_code == 404
    assert api.post(f"/v1/deductions/{as_deduction}/refunds").status_code == 404
    assert api.http.get(f"/v1/holds/{as_hold}").status_code == 404
    assert api.http.get(f"/v1/deductions/{as_deduction}").status_code == 404


# Headers.


def test_an_empty_key_is_refused(api: Api) -> None:
    response = send(api, b'{"amount": 5}', Idempotency_Key="")

    assert code_and_field(response) == (422, "invalid_request", "Idempotency-Key")


@pytest.mark.parametrize("key", [b"k" * 256, b"caf\xc3\xa9", b"\xff", b"a\tb"])
def test_a_key_that_does_not_fit_is_refused(api: Api, key: bytes) -> None:
    head = api.head()

    response = api.http.post(
        "/v1/customers/c/grants", json={"amount": 5}, headers=[(b"Idempotency-Key", key)]
    )

    assert code_and_field(response) == (422, "invalid_request", "Idempotency-Key")
    assert api.head() == head


def test_two_keys_are_one_too_many(api: Api) -> None:
    headers = [("Idempotency-Key", new_key()), ("Idempotency-Key", new_key())]

    response = api.http.post("/v1/customers/c/grants", json={"amount": 5}, headers=headers)

    assert code_and_field(response) == (422, "invalid_request", "idempotency-key")


def test_a_key_of_255_characters_fits(api: Api) -> None:
    path = f"/v1/customers/{new_customer()}/grants"

    assert api.post(path, {"amount": 5}, key="k" * 255).status_code == 201


# Queries.


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/customers/c/grants?dry_run=yes", "dry_run"),
        ("/v1/customers/c/grants?dry_run=", "dry_run"),
        ("/v1/customers/c/grants?dry_run=true&dry_run=false", "dry_run"),
        ("/v1/customers/c/grants?dryrun=true", "dryrun"),
    ],
)
def test_a_query_of_a_command_must_fit(api: Api, path: str, field: str) -> None:
    assert code_and_field(api.post(path, {"amount": 5})) == (422, "invalid_request", field)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("balance?asset=Gold", "asset"),
        ("balance?consistency=some", "consistency"),
        ("balance?at=yesterday", "at"),
        ("balance?at=2026-01-01T00:00:00", "at"),
        ("balance?at=1767225600", "at"),
        ("balance?after_position=-1", "after_position"),
        ("balance?after_position=9223372036854775808", "after_position"),
        ("balance?after_position=1.0", "after_position"),
        ("balance?after_position=%D9%A1", "after_position"),
        ("balance?after_position=1&at=2026-01-01T00:00:00Z", "after_position"),
        ("balance?colour=red", "colour"),
        ("balance?asset=a&asset=b", "asset"),
        ("entries?limit=0", "limit"),
        ("entries?limit=1001", "limit"),
        ("entries?limit=ten", "limit"),
        ("entries?limit=99999999999999999999999", "limit"),
        ("entries?kind=%00", "kind"),
        ("entries?kind=party", "kind"),
        ("entries?feature=%00", "feature"),
        ("entries?since=2026-13-01T00:00:00Z", "since"),
        ("entries?cursor=", "cursor"),
        ("entries?cursor=%00", "cursor"),
        ("holds?status=closed", "status"),
        ("refusals?code=%00", "code"),
    ],
)
def test_a_query_must_fit(api: Api, query: str, field: str) -> None:
    response = api.http.get(f"/v1/customers/c/{query}")

    assert code_and_field(response) == (422, "invalid_request", field)


@pytest.mark.parametrize("query", ["%FF=1", "asset=%FF", "asset=%ED%A0%80", "a=1&" * 60])
def test_a_query_that_cannot_be_read_is_malformed(api: Api, query: str) -> None:
    response = api.http.get(f"/v1/customers/c/balance?{query}")

    assert code_and_field(response) == (400, "malformed_request", None)


@pytest.mark.parametrize("query", ["after=x", "limit=0", "type=%00", "customer_id=%00", "x=1"])
def test_a_query_of_events_must_fit(api: Api, query: str) -> None:
    response = api.http.get(f"/v1/events?{query}")

    assert code_and_field(response) == (422, "invalid_request", query.split("=", maxsplit=1)[0])


def test_a_cursor_that_was_tampered_with_is_refused(api: Api) -> None:
    customer = new_customer()
    for _ in range(3):
        last = api.granted(customer, 1)["position"]
    path = f"/v1/customers/{customer}"
    api.http.get(f"{path}/balance", params={"after_position": str(last)})
    for _ in range(500):
        page = api.http.get(f"{path}/entries", params={"limit": 1}).json()
        if page["next_cursor"]:
            break
    cursor = page["next_cursor"]

    following = api.http.get(f"{path}/entries", params={"limit": 1, "cursor": cursor})
    assert following.status_code == 200
    place, _, checksum = cursor.partition("-")
    tampered = [
        f"{int(place) + 1}-{checksum}",
        f"{place}-{checksum[::-1]}",
        cursor[:-1],
        cursor + "0",
        cursor.upper() + "!",
        "1",
        "-",
        "'",
    ]
    for wrong in tampered:
        response = api.http.get(f"{path}/entries", params={"limit": 1, "cursor": wrong})
        assert code_and_field(response) == (422, "invalid_request", "cursor"), wrong
    elsewhere = api.http.get(f"/v1/customers/{new_customer()}/entries", params={"cursor": cursor})
    filtered = api.http.get(f"{path}/entries", params={"cursor": cursor, "kind": "grant"})
    assert elsewhere.status_code == filtered.status_code == 422


# Sizes.


def test_a_body_over_a_mebibyte_is_too_large(api: Api) -> None:
    just_fits = json.dumps({"amount": 5, "reference": ""}).encode().ljust(1024 * 1024)

    assert code_and_field(send(api, just_fits)) == (422, "invalid_request", "reference")
    assert code_and_field(send(api, just_fits + b" ")) == (413, "body_too_large", None)
    assert code_and_field(send(api, b" " * 10_000_000)) == (413, "body_too_large", None)


def test_a_batch_may_have_eight_mebibytes(api: Api) -> None:
    headers = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}
    just_fits = b'{"commands": []}'.ljust(8 * 1024 * 1024)

    fits = api.http.post("/v1/batches", content=just_fits, headers=headers)
    too_large = api.http.post("/v1/batches", content=just_fits + b" ", headers=headers)

    assert code_and_field(fits) == (422, "invalid_request", "commands")
    assert code_and_field(too_large) == (413, "body_too_large", None)


def test_a_body_of_unknown_length_is_cut_off_where_it_is_too_large(api: Api) -> None:
    chunks = (b" " * 65_536 for _ in range(1_000))
    headers = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}

    try:
        response = api.http.post("/v1/customers/c/grants", content=chunks, headers=headers)
    except httpx.WriteError:
        # The server may close the connection while we are still sending.
        return

    assert code_and_field(response) == (413, "body_too_large", None)


def test_a_caller_who_goes_away_leaves_no_trace(api: Api) -> None:
    head = api.head()
    address = urlsplit(api.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        key = api.http.headers["authorization"]
        connection.sendall(
            b"POST /v1/customers/c/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            b"Authorization: " + key.encode() + b"\r\nIdempotency-Key: gone\r\n\r\n{"
        )

    assert api.http.get("/healthz").status_code == 200
    assert api.head() == head
