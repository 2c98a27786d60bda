"""Clients that use all of the service at once, and remember what they asked and were told.

What they know of holds and deductions comes from answers alone, so an id that is asked about is one
that the service gave out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from processes import API_KEY

#: A client asks another process when one has not answered for so long.
_PATIENCE_SECONDS = 4.0

#: So often in a row; then it leaves the matter open until all is well again.
_TRIES = 3

_THINK_SECONDS_MAX = 0.05
_SETTLE_SECONDS_MAX = 90.0

#: Statuses that say what became of a command; 409 may also say that it is still under way.
_DEFINITE = {200, 201, 402, 404, 409, 422}


_FIGURES = ("available", "held", "scheduled", "debt", "overage")


@dataclass(eq=False)
class Command:
    """One command, or a batch of them, with its key and what it was told.

    `asked` is when it was sent first, `answered` when its first definite answer came.
    """

    path: str
    body: dict[str, Any]
    key: str
    method: str = "POST"
    asked: float = 0.0
    answered: float = 0.0
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    vague: list[str] = field(default_factory=list)

    @property
    def is_definite(self) -> bool:
        """Whether it is known what became of it."""
        return self.status is not None

    @property
    def is_accepted(self) -> bool:
        """Whether it was done; a batch may have parts that were not."""
        return self.status in {200, 201}

    def all_keys(self) -> list[str]:
        """Its own key, and a batch's commands'."""
        return [self.key, *(one["idempotency_key"] for one in self.body.get("commands", ()))]


@dataclass(frozen=True, slots=True)
class Read:
    """A balance as somebody saw it, and the position that it stands for: at least, if exact."""

    customer_id: str
    asked: float
    answered: float
    exact: bool
    position: int
    balance: dict[str, int]


class Client:
    """One thread's worth of load."""

    def __init__(self, number: int, seed: int, urls: Sequence[str], customers: Sequence[str]):
        self.commands: list[Command] = []
        self.reads: list[Read] = []
        self._name = f"{seed}-{number}"
        self._chance = Random(f"{seed} {number}")
        self._customers = customers
        headers = {"Authorization": f"Bearer {API_KEY}"}
        self._apis = [
            httpx.Client(base_url=url, headers=headers, timeout=_PATIENCE_SECONDS) for url in urls
        ]
        self._holds: list[str] = []
        self._deductions: list[str] = []
        self._grants: list[str] = []
        self._position = 0

    def press(self, stop: threading.Event) -> None:
        """Ask for one thing after another until told to stop."""
        while not stop.is_set():
            if self._chance.random() < 0.2:
                self._read()
            else:
                self._command()
            time.sleep(self._chance.uniform(0, _THINK_SECONDS_MAX))

    def settle(self) -> None:
        """Find out what became of everything."""
        deadline = time.monotonic() + _SETTLE_SECONDS_MAX
        for command in self.commands:
            while not command.is_definite:
                assert time.monotonic() < deadline, command
                self._send(command)
        for api in self._apis:
            api.close()

    # Commands.

    def _command(self) -> None:
        path, body = self._draw()
        command = Command(path, body, f"{self._name}-{len(self.commands)}")
        self.commands.append(command)
        command.asked = time.monotonic()
        for _ in range(_TRIES):
            if self._send(command):
                self._learn(command.path, command.answer)
                break
            time.sleep(self._chance.uniform(0.05, 0.5))

    def _draw(self) -> tuple[str, dict[str, Any]]:
        if self._chance.random() < 0.15:
            items = [self._item(number) for number in range(self._chance.randint(2, 5))]
            mode = self._chance.choice(("independent", "all_or_nothing"))
            return "/v1/batches", {"commands": items, "mode": mode}
        draws: list[Callable[[], tuple[str, dict[str, Any]] | None]] = [
            *[self._grant] * 3,
            *[self._deduct] * 5,
            *[self._hold] * 3,
            *[self._capture] * 2,
            self._release,
            *[self._refund] * 2,
            self._transfer,
            self._revoke,
        ]
        return self._chance.choice(draws)() or self._deduct()

    def _customer(self) -> str:
        return self._chance.choice(self._customers)

    def _amount(self) -> int:
        return self._chance.randint(1, 9)

    def _grant(self) -> tuple[str, dict[str, Any]]:
        return f"/v1/customers/{self._customer()}/grants", {"amount": 3 * self._amount()}

    def _deduct(self) -> tuple[str, dict[str, Any]]:
        return f"/v1/customers/{self._customer()}/deductions", {"amount": self._amount()}

    def _hold(self) -> tuple[str, dict[str, Any]]:
        return f"/v1/customers/{self._customer()}/holds", {"amount": self._amount()}

    def _capture(self) -> tuple[str, dict[str, Any]] | None:
        if not self._holds:
            return None
        hold_id = self._chance.choice(self._holds[-5:])
        body = {"amount": self._amount(), "final": self._chance.random() < 0.7}
        return f"/v1/holds/{hold_id}/capture", body

    def _release(self) -> tuple[str, dict[str, Any]] | None:
        if not self._holds:
            return None
        return f"/v1/holds/{self._chance.choice(self._holds[-5:])}/release", {}

    def _refund(self) -> tuple[str, dict[str, Any]] | None:
        if not self._deductions:
            return None
        deduction_id = self._chance.choice(self._deductions[-5:])
        amount = self._chance.choice((None, 1, 3))
        return f"/v1/deductions/{deduction_id}/refunds", {"amount": amount}

    def _revoke(self) -> tuple[str, dict[str, Any]] | None:
        if not self._grants:
            return None
        grant_id = self._chance.choice(self._grants[-5:])
        return f"/v1/grants/{grant_id}/revocations", {"amount": self._amount()}

    def _transfer(self) -> tuple[str, dict[str, Any]]:
        sender, receiver = self._chance.sample(self._customers, 2)
        body = {"from_customer_id": sender, "to_customer_id": receiver, "amount": self._amount()}
        return "/v1/transfers", body

    def _item(self, number: int) -> dict[str, Any]:
        kind = self._chance.choice(("grant", "deduct", "deduct", "hold"))
        return {
            "type": kind,
            "customer_id": self._customer(),
            "amount": self._amount(),
            "idempotency_key": f"{self._name}-{len(self.commands)}-{number}",
        }

    def _send(self, command: Command) -> bool:
        """Ask one process once; whether it said what became of it."""
        api = self._chance.choice(self._apis)
        headers = {"Idempotency-Key": command.key}
        try:
            told = api.request(command.method, command.path, json=command.body, headers=headers)
        except httpx.TransportError as error:
            command.vague.append(type(error).__name__)
            return False
        came = time.monotonic()
        answer = told.json()
        code = answer.get("code")
        assert told.status_code < 500 or told.status_code == 503, (command, told.text)
        if told.status_code not in _DEFINITE or code == "command_in_progress":
            command.vague.append(code)
            return False
        command.answered, command.status, command.answer = came, told.status_code, answer
        self._position = max(self._position, answer.get("position", 0))
        return True

    def _learn(self, path: str, answer: dict[str, Any]) -> None:
        for name, known in (
            ("hold_id", self._holds),
            ("deduction_id", self._deductions),
            ("grant_id", self._grants),
        ):
            if name in answer and path.rsplit("/", 1)[1] in {"holds", "deductions", "grants"}:
                known.append(answer[name])

    # Reads.

    def _read(self) -> None:
        customer_id = self._customer()
        exact = self._chance.random() < 0.5
        query: dict[str, Any] = {"asset": "credits"}
        query |= {"consistency": "exact"} if exact else {"after_position": self._position}
        asked = time.monotonic()
        try:
            path = f"/v1/customers/{customer_id}/balance"
            told = self._chance.choice(self._apis).get(path, params=query)
        except httpx.TransportError:
            return
        answered = time.monotonic()
        assert told.status_code in {200, 503}, told.text
        if told.status_code == httpx.codes.OK:
            answer = told.json()
            (found,) = answer["balances"]
            balance = {name: found[name] for name in _FIGURES}
            assert exact or answer["position"] >= query["after_position"], answer
            self.reads.append(
                Read(customer_id, asked, answered, exact, answer["position"], balance)
            )
