"""What clients were told and saw, held against the log."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from creditledger.domain import ids
from creditledger.infra.database import connect
from mixed_load import Command, Read
from mixed_webhooks import PRICE_KEY
from real_time import Placed, assert_in_real_time_order

_ACCEPTED = "accepted"

_EVENTS = """
    SELECT position, stream, state->'context'->>'actor', state->'context'->>'causation_id',
           state->'after'
      FROM ledger_log ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class _Event:
    """What of an event the proof looks at."""

    position: int
    actor: str
    cause: str
    after: dict[str, int] | None


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What of a receipt the proof looks at."""

    public_id: str
    outcome: str
    position: int


class Proof:
    """The log and the receipts of a database, as they are now."""

    def __init__(self, database_url: str) -> None:
        with connect(database_url, "tests") as connection:
            self._receipts = _receipts(connection)
            self._events: list[_Event] = []
            self._accounts: defaultdict[Any, list[_Event]] = defaultdict(list)
            for position, stream, actor, cause, after in connection.execute(_EVENTS):
                event = _Event(position, actor, cause, after)
                self._events.append(event)
                if after is not None:
                    self._accounts[stream].append(event)
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        for event in self._events:
            self._places[event.cause].append(event.position)

    def once_or_never(self, commands: Iterable[Command]) -> None:
        """Before anything is sent again: what was told is so, and nothing is there twice."""
        commands = list(commands)
        for command in commands:
            if command.is_definite:
                self._as_told(command)
        for receipt in self._receipts.values():
            self._in_one_piece(receipt)
        asked = {PRICE_KEY, *(key for command in commands for key in command.all_keys())}
        assert self._receipts.keys() <= asked, self._receipts.keys() - asked
        known = {receipt.public_id for receipt in self._receipts.values()}
        for event in self._events:
            if event.actor.startswith("client:"):
                assert event.cause in known, event

    def _as_told(self, command: Command) -> None:
        receipt = self._receipts.get(command.key)
        if command.answer.get("code") == "invalid_request" and "receipt_id" not in command.answer:
            assert receipt is None, command
            return
        assert receipt is not None, command
        outcome = _ACCEPTED if command.is_accepted else command.answer["code"]
        assert (receipt.outcome, receipt.position) == (outcome, command.answer["position"]), command
        parts = zip(command.all_keys()[1:], command.answer.get("results", ()), strict=False)
        for key, result in parts:
            part = self._receipts[key]
            assert result["position"] == part.position, command
            accepted = result["status"] < 400
            assert (part.outcome == _ACCEPTED) == accepted, command
        if receipt.outcome == "batch_refused":
            assert not self._receipts.keys() & set(command.all_keys()[1:]), command

    def _in_one_piece(self, receipt: _Receipt) -> None:
        """What was accepted was done once; what was refused did nothing."""
        places = self._places.get(receipt.public_id, [])
        if receipt.outcome != _ACCEPTED:
            assert not places, receipt
        elif places:
            assert places[-1] <= receipt.position, (receipt, places)
            beside = set(range(places[0], receipt.position + 1)) - set(places)
            actors = {self._events[position - 1].actor for position in beside}
            assert actors <= {"system:time"}, (receipt, places, actors)

    # What was seen, and when.

    def in_real_time(self, commands: Iterable[Command], reads: Iterable[Read]) -> None:
        """Nobody was answered from a past that he could know to be over (linearizability)."""
        commands = [one for one in commands if one.key in self._receipts]
        assert_in_real_time_order(
            Placed(one.asked, one.answered, self._receipts[one.key].position, one)
            for one in commands
        )
        answered = _Newest((one.answered, self._receipts[one.key].position) for one in commands)
        asked = {
            self._receipts[key].public_id: command.asked
            for command in commands
            for key in command.all_keys()
            if key in self._receipts
        }
        for read in reads:
            self._seen(read, answered.before(read.asked) if read.exact else 0, asked)

    def _seen(self, read: Read, answered: int, asked: dict[str, float]) -> None:
        """The balance is that of a moment between what was known and what was to come."""
        events = self._accounts[ids.account_id(read.customer_id, "credits")]
        floor = max(read.position, answered)
        first = bisect_right(events, floor, key=lambda event: event.position) - 1
        last = len(events) if read.exact else first + 1
        for event in events[max(first, 0) : last]:
            if asked.get(event.cause, 0.0) > read.answered:
                break
            if event.after == read.balance:
                return
        nothing = first < 0 and not any(read.balance.values())
        assert nothing, (read, floor, events[max(first, 0)] if events else None)


class _Newest:
    """The newest position that anybody had been told before a moment."""

    def __init__(self, answered: Iterable[tuple[float, int]]) -> None:
        self._moments: list[float] = []
        self._positions: list[int] = []
        for moment, position in sorted(answered):
            newest = self._positions[-1] if self._positions else 0
            self._moments.append(moment)
            self._positions.append(max(newest, position))

    def before(self, moment: float) -> int:
        place = bisect_left(self._moments, moment)
        return self._positions[place - 1] if place else 0


def _receipts(connection: Connection[Any]) -> dict[str, _Receipt]:
    rows = connection.execute("SELECT key, receipt_id, outcome, position FROM receipts")
    return {
        key: _Receipt(ids.stream_id(ids.RECEIPT, receipt_id), outcome, position)
        for key, receipt_id, outcome, position in rows
    }


def summary(commands: Sequence[Command], reads: Sequence[Read], seconds: float) -> str:
    """How much was pressed, in one line."""
    vague = sum(bool(one.vague) for one in commands)
    accepted = sum(one.is_accepted for one in commands)
    return (
        f"{len(commands)} commands in {seconds:.0f} s, {accepted} accepted, {vague} with no or a "
        f"vague answer at first; {len(reads)} reads"
    )
