"""What people enter about providers: told again under its key, and traced to who entered it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from api_server import Api, new_key

ENTERED: list[tuple[str, dict[str, object], str, dict[str, object]]] = [
    ("/v1/prices/stripe/price_again", {"credits": 5}, "PriceSet", {"credits": 6}),
    ("/v1/links/stripe/cus_again", {"customer_id": "acme"}, "CustomerLinked", {"customer_id": "b"}),
]


@pytest.mark.parametrize(("path", "body", "event", "other"), ENTERED)
def test_what_is_entered_is_told_again_under_its_key_and_says_so(
    api: Api, path: str, body: dict[str, object], event: str, other: dict[str, object]
) -> None:
    key = new_key()
    first = api.command("PUT", path, body, key=key)
    # What is told again is the first answer, whatever became of it since.
    api.command("PUT", path, other)

    again = api.command("PUT", path, body, key=key)

    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content


@pytest.mark.parametrize(("path", "body", "event", "other"), ENTERED)
def test_an_event_names_the_receipt_that_led_to_it_or_who_wished_it(
    api: Api, path: str, body: dict[str, object], event: str, other: dict[str, object]
) -> None:
    after, key = api.head(), new_key()

    assert api.http.put(f"{path}_cause", json=body).status_code == 200
    assert api.command("PUT", f"{path}_cause", other, key=key).status_code == 200

    found = api.http.get("/v1/events", params={"after": str(after), "type": event})
    alone, kept = found.json()["events"]
    assert alone["actor"].startswith("client:")
    assert alone["causation_id"] == alone["correlation_id"] == alone["actor"]
    receipt = api.http.get(f"/v1/receipts/{kept['causation_id']}").json()
    assert receipt["idempotency_key"] == key


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/customers/c/grants", b'{"amount": 5}'),
        ("PUT", "/v1/prices/stripe/price_blanks", b'{"credits": 5}'),
    ],
)
def test_blanks_around_a_key_are_no_part_of_it(
    api: Api, method: str, path: str, body: bytes
) -> None:
    key = new_key()

    done = exchange(api, method, path, body, f" \t{key} \t ")
    again = exchange(api, method, path, body, key)

    assert done.split()[1] in (b"200", b"201"), done
    assert b"idempotency-replayed" not in done
    assert b"idempotency-replayed: true" in again


def exchange(api: Api, method: str, path: str, body: bytes, key: str) -> bytes:
    """What a command is told, whose key is sent with every character as it is."""
    address = urlsplit(api.url)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: {api.http.headers['authorization']}\r\n"
        f"Idempotency-Key:{key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + body)
        return b"".join(iter(lambda: connection.recv(65_536), b""))
