"""Providers that deliver over HTTP, many at a time, and again where they are not answered 2xx.

The requests are written to the sockets as bytes: clients of more comfort would take more of the
machine than the service that is to be pressed.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Self
from urllib.parse import urlsplit

from burst_story import Sent
from provider_bodies import polar_headers, standard_key, stripe_headers

STRIPE_SECRET: Final = "whsec_burst"
POLAR_SECRET: Final = "whsec_YnVyc3RidXJzdGJ1cnN0YnVyc3Q="

_CONNECTIONS: Final = 32
_ANSWER_SECONDS_MAX: Final = 30.0
_AGAIN_SECONDS: Final = 0.2


class Sending:
    """Delivers all there is in the block, in about the given order; `join` waits for the end."""

    def __init__(self, url: str, sent: Sequence[Sent], *, connections: int = _CONNECTIONS) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._address = address.hostname, address.port
        self._left = deque(sent)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send_all) for _ in range(connections)]
        #: How long each answer of 2xx took, in seconds.
        self.took: list[float] = []
        #: Answers of other kinds, and none at all.
        self.again = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def join(self) -> None:
        """Return when everything was answered 2xx."""
        for thread in self._threads:
            thread.join()

    def _send_all(self) -> None:
        connection = _Connection(self._address)
        try:
            while self._left and not self._stop.is_set():
                try:
                    sent = self._left.popleft()
                except IndexError:
                    return
                began = time.perf_counter()
                if connection.answered(request(sent)):
                    self.took.append(time.perf_counter() - began)
                else:
                    self.again += 1
                    self._left.append(sent)
                    self._stop.wait(_AGAIN_SECONDS)
        finally:
            connection.close()


class _Connection:
    """One connection that is kept for many requests, and made again where it was lost."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def answered(self, request: bytes) -> bool:
        """Whether the answer is 2xx."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, _ANSWER_SECONDS_MAX)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            return self._answer()[9:10] == b"2"
        except OSError:
            self.close()
            return False

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _answer(self) -> bytes:
        """A whole answer; raises ConnectionError where it ends before."""
        assert self._socket is not None
        answer = b""
        while True:
            read = self._socket.recv(65_536)
            if not read:
                raise ConnectionError("no answer")
            answer += read
            head, found, body = answer.partition(b"\r\n\r\n")
            if found and len(body) >= _length(head):
                return answer


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0])


def request(sent: Sent) -> bytes:
    """A delivery as it goes over the wire, signed now."""
    if sent.provider == "stripe":
        headers = stripe_headers(sent.content, STRIPE_SECRET)
    else:
        headers = polar_headers(
            sent.content, standard_key(POLAR_SECRET), webhook_id=sent.provider_delivery_id
        )
    lines = [
        f"POST /webhooks/{sent.provider} HTTP/1.1",
        "Host: ledger.example",
        "Content-Type: application/json",
        f"Content-Length: {len(sent.content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + sent.content
