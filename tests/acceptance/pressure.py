"""Clients that press on a service, remember what they were told, and hold it against the log."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from creditledger.domain import ids
from creditledger.infra.database import connect

_SETTLE_SECONDS = 60.0

#: The event that an accepted command of each kind leaves, exactly once.
_TOPICS = {
    "grants": "creditledger.Granted",
    "deductions": "creditledger.Deducted",
    "holds": "creditledger.Held",
    "capture": "creditledger.Deducted",
}


@dataclass
class Wished:
    """One command with its key, and all that it was ever told, in order; None: no answer at all."""

    path: str
    body: dict[str, Any]
    customer_id: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    told: list[int | None] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[1]

    @property
    def is_definite(self) -> bool:
        """Whether the last answer says what became of it."""
        return bool(self.told) and self.told[-1] in {201, 402, 404, 409}

    @property
    def is_accepted(self) -> bool:
        """Whether it was done."""
        return self.told[-1] == httpx.codes.CREATED


class Clients:
    """Threads that spend, hold and grant on a few accounts, each command once until `settle`."""

    def __init__(self, urls: list[str], api_key: str, *, threads: int, customers: int) -> None:
        self.wished: list[Wished] = []
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._customers = [f"under-pressure-{n}" for n in range(customers)]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._press, args=(random.Random(n), urls[n % len(urls)]))
            for n in range(threads)
        ]

    def start(self) -> None:
        """Begin to press."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop pressing; every command sent has its answer or none by then."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def settle(self) -> None:
        """Send again, with its key, whatever has no definite answer, until all have one."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        with httpx.Client(base_url=self._urls[0], headers=self._headers, timeout=40) as http:
            open_ones = [wished for wished in self.wished if not wished.is_definite]
            while open_ones:
                assert time.monotonic() < deadline, f"{len(open_ones)} have no answer"
                for wished in open_ones:
                    _send(http, wished)
                open_ones = [wished for wished in open_ones if not wished.is_definite]

    def _press(self, chance: random.Random, url: str) -> None:
        with httpx.Client(base_url=url, headers=self._headers, timeout=40) as http:
            while not self._stop.is_set():
                customer_id = chance.choice(self._customers)
                held = self._wish(http, customer_id, *_draw(chance, customer_id))
                if held.kind == "holds" and held.is_definite and held.is_accepted:
                    hold_id = held.answer["hold_id"]
                    self._wish(http, customer_id, f"/v1/holds/{hold_id}/capture", {"amount": 1})

    def _wish(
        self, http: httpx.Client, customer_id: str, path: str, body: dict[str, Any]
    ) -> Wished:
        wished = Wished(path, body, customer_id)
        self.wished.append(wished)
        _send(http, wished)
        if not wished.is_definite:
            time.sleep(0.02)
        return wished


def _draw(chance: random.Random, customer_id: str) -> tuple[str, dict[str, Any]]:
    kind = chance.choice(("grants", "deductions", "deductions", "deductions", "holds"))
    amount = {"grants": 5, "deductions": 3, "holds": 2}[kind]
    return f"/v1/customers/{customer_id}/{kind}", {"amount": amount}


def _send(http: httpx.Client, wished: Wished) -> None:
    try:
        answer = http.post(wished.path, json=wished.body, headers={"Idempotency-Key": wished.key})
    except httpx.TransportError:
        wished.told.append(None)
        return
    assert answer.status_code != httpx.codes.INTERNAL_SERVER_ERROR, answer.text
    wished.told.append(answer.status_code)
    wished.answer = answer.json()


def recorded_once_or_never(database_url: str, wished: list[Wished]) -> None:
    """Before anything is sent again: what was accepted is in the log once, what was refused or
    answered `overloaded` is not, and what got no answer or `unavailable` is there at most once."""
    counts = _recorded(database_url)
    for one in wished:
        found = counts[one.key, _TOPICS[one.kind]]
        if one.is_definite:
            assert found == one.is_accepted, one
        elif one.answer.get("code") == "overloaded":
            assert found == 0, one
        else:
            assert found <= 1, one


def recorded_as_told(database_url: str, wished: list[Wished]) -> None:
    """At the end: every accepted command is in the log once, no other is, and nothing else is."""
    counts = _recorded(database_url)
    expected = Counter({(one.key, _TOPICS[one.kind]): 1 for one in wished if one.is_accepted})
    assert counts == expected


def totals_as_told(database_url: str, wished: list[Wished]) -> None:
    """Each account's last balance is what the accepted commands add up to."""
    totals: Counter[str] = Counter()
    for one in wished:
        if one.is_accepted and one.kind != "holds":
            amount = one.body["amount"]
            totals[one.customer_id] += amount if one.kind == "grants" else -amount
    with connect(database_url, "tests") as connection:
        rows = connection.execute(
            """
            SELECT DISTINCT ON (state->>'customer_id') state->>'customer_id',
                   (state->'after'->>'available')::bigint + (state->'after'->>'held')::bigint
              FROM ledger_log WHERE state ? 'after'
             ORDER BY state->>'customer_id', position DESC
            """
        ).fetchall()
    assert dict(rows) == dict(totals)


def _recorded(database_url: str) -> Counter[tuple[str, str]]:
    """How often each key's receipt has caused each of the topics that we ask about."""
    with connect(database_url, "tests") as connection:
        keys = {
            ids.stream_id(ids.RECEIPT, receipt_id): key
            for receipt_id, key in connection.execute("SELECT receipt_id, key FROM receipts")
        }
        rows = connection.execute(
            """
            SELECT state->'context'->>'causation_id', topic, count(*)
              FROM ledger_log WHERE topic = ANY(%s)
             GROUP BY 1, 2
            """,
            [sorted(set(_TOPICS.values()))],
        ).fetchall()
    return Counter({(keys[cause], topic): count for cause, topic, count in rows})
