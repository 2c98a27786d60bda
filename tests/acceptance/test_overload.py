"""Three times more than the service can take: it does what it can, says so, and recovers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import httpx
import pytest

from creditledger.infra.database import connect
from creditledger.infra.embedded_postgres import embedded_postgres
from creditledger.infra.migrate import migrate
from processes import API_KEY, Process

pytestmark = [pytest.mark.slow, pytest.mark.alone]

#: Commands that may wait. As many again can be in hand, so three times what there is room for is
#: six times as many clients as keep the service busy without a refusal.
_ROOM = 16
_CLIENTS = _ROOM
_TIMES_TOO_MANY = 6
_SECONDS = 5.0

#: How soon a refused client is back: sooner than it was asked to.
_IMPATIENCE_SECONDS = 0.2

#: How soon a client is told that there is no room, on a machine that is busy with other things.
_QUICK_SECONDS = 0.5

_CUSTOMERS = 50
_MEMORY_GROWTH_MAX = 64 * 1024 * 1024


@dataclass
class Seen:
    """What clients were told, with the seconds that each answer took."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)


class Client:
    """One connection that sends deductions, one after the other, at little cost to itself."""

    def __init__(self, url: str, number: int) -> None:
        self._address = urlsplit(url)
        self._number = number

    async def press(self, until: float, seen: Seen) -> None:
        """Send until the time is over."""
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        while time.monotonic() < until:
            key = uuid.uuid4().hex
            began = time.monotonic()
            writer.write(self._deduction(key))
            status, headers, body = await _answer(reader)
            took = time.monotonic() - began
            if status == httpx.codes.CREATED:
                seen.accepted.append(took)
                seen.keys.add(key)
                continue
            assert status == httpx.codes.SERVICE_UNAVAILABLE, body
            assert json.loads(body)["code"] == "overloaded"
            assert int(headers["retry-after"]) >= 1
            seen.refused.append(took)
            await asyncio.sleep(_IMPATIENCE_SECONDS)
        writer.close()
        await writer.wait_closed()

    def _deduction(self, key: str) -> bytes:
        body = b'{"amount":1}'
        head = (
            f"POST /v1/customers/pressed-{self._number % _CUSTOMERS}/deductions HTTP/1.1",
            "Host: ledger",
            f"Authorization: Bearer {API_KEY}",
            f"Idempotency-Key: {key}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join((*head, "", "")).encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, body


def pressed(url: str, clients: int) -> Seen:
    """What so many clients were told within some seconds."""
    seen = Seen()

    async def press() -> None:
        until = time.monotonic() + _SECONDS
        await asyncio.gather(*(Client(url, number).press(until, seen) for number in range(clients)))

    asyncio.run(press())
    return seen


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Process, str]]:
    """An API process with little room, whose customers have credits, and its database."""
    with ExitStack() as stack:
        url = stack.enter_context(embedded_postgres(tmp_path / "data"))
        migrate(url)
        room = str(_ROOM)
        serve = stack.enter_context(Process("serve", url, tmp_path, WRITE_QUEUE_LIMIT=room))
        headers = {"Authorization": f"Bearer {API_KEY}"}
        with httpx.Client(base_url=serve.url, headers=headers, timeout=30) as http:
            for number in range(_CUSTOMERS):
                path = f"/v1/customers/pressed-{number}/grants"
                key = {"Idempotency-Key": f"grant-{number}"}
                assert http.post(path, json={"amount": 10**9}, headers=key).status_code == 201
        yield serve, url


def recorded(url: str) -> set[str]:
    """The keys of the deductions in the log."""
    with connect(url, "tests") as connection:
        rows = connection.execute("SELECT key FROM receipts WHERE command = 'deduct'")
        return {row[0] for row in rows}


def test_three_times_too_much(service: tuple[Process, str]) -> None:
    serve, url = service
    at_ease = pressed(serve.url, _CLIENTS)
    assert not at_ease.refused
    memory = serve.memory()

    overloaded = pressed(serve.url, _CLIENTS * _TIMES_TOO_MANY)

    # Others use the machine, too, and the refused ones take some of it.
    assert len(overloaded.accepted) > len(at_ease.accepted) / 4
    assert len(overloaded.refused) > _CLIENTS * _TIMES_TOO_MANY / 2
    assert median(overloaded.refused) < _QUICK_SECONDS
    assert serve.memory() - memory < _MEMORY_GROWTH_MAX
    assert recorded(url) == at_ease.keys | overloaded.keys

    after = pressed(serve.url, _CLIENTS)
    assert not after.refused
    assert median(after.accepted) < max(4 * median(at_ease.accepted), _QUICK_SECONDS)
    assert recorded(url) == at_ease.keys | overloaded.keys | after.keys
