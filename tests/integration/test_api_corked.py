"""Answers leave whole, however they were asked for, and with one write where they are short."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from api_server import PATIENCE_SECONDS, Api, running_api


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[Api]:
    with running_api(shared_database_url, read_side=False) as api:
        yield api


@pytest.fixture
def line(api: Api) -> Iterator[socket.socket]:
    """A bare connection."""
    at = urlsplit(api.url)
    with socket.create_connection((at.hostname, at.port), PATIENCE_SECONDS) as line:
        yield line


def asked(path: str, *headers: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", "Host: ledger", *headers, "", "")
    return "\r\n".join(lines).encode()


def until_the_end(line: socket.socket) -> bytes:
    received = b""
    while part := line.recv(65_536):
        received += part
    return received


def test_a_short_answer_comes_at_once(line: socket.socket) -> None:
    line.sendall(asked("/healthz"))
    head, _, body = line.recv(65_536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b'{"status":"alive"}'


def test_the_last_answer_comes_before_the_end(line: socket.socket) -> None:
    line.sendall(asked("/healthz", "Connection: close"))
    assert until_the_end(line).endswith(b'\r\n\r\n{"status":"alive"}')


def test_answers_to_requests_sent_together_come_in_order(line: socket.socket) -> None:
    line.sendall(asked("/healthz") + asked("/nothing") + asked("/healthz", "Connection: close"))
    received = until_the_end(line)
    places = [received.index(b"200 OK"), received.index(b"404"), received.rindex(b"200 OK")]
    assert places == sorted(places)
    assert received.count(b"HTTP/1.1 ") == 3


def test_a_long_answer_comes_whole(line: socket.socket, api: Api) -> None:
    line.sendall(asked("/openapi.json", "Connection: close"))
    head, _, body = until_the_end(line).partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert len(body) > 65_536
    assert body == api.http.get("/openapi.json").content
