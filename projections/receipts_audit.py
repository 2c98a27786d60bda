"""Proves that receipts and events agree: what was told is in the log, and nothing else is.

Receipts are read a range of ids at a time, beside what events say of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from psycopg.rows import TupleRow

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.receipt import ACCEPTED
from creditledger.projections.causes import SPARE_BITS, Caused, bounds, report_unknown
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.frozen_log import FrozenLog

_BATCH: Final = 500
_FETCHED_AT_ONCE: Final = 2_000

_RECEIPTS: Final = """
    SELECT uuid_send(receipt_id), client_id, key, command, customer_id, asset, outcome, answer,
        position
    FROM receipts WHERE receipt_id BETWEEN %(first)s AND %(last)s
"""

#: What the answer to a command names, and the event that brought that about.
_NAMES: Final[Mapping[str, tuple[str, str, type[Event]]]] = {
    "grant": ("grant_id", ids.GRANT, e.Granted),
    "deduct": ("deduction_id", ids.DEDUCTION, e.Deducted),
    "transfer": ("deduction_id", ids.DEDUCTION, e.Deducted),
    "hold": ("hold_id", ids.HOLD, e.Held),
    "capture": ("deduction_id", ids.DEDUCTION, e.Deducted),
    "refund": ("refund_id", ids.REFUND, e.Refunded),
    "revoke": ("revocation_id", ids.REVOCATION, e.Revoked),
    "reinstate": ("reinstatement_id", ids.REINSTATEMENT, e.Reinstated),
}

_NAMES_NOTHING: Final = ("amount", "", e.Event)

#: Commands on an account that always leave events where they are accepted.
_LEAVE_EVENTS: Final = frozenset({*_NAMES, "change_expiry", "set_overage_limit"})


class _Receipt(NamedTuple):
    """A row of receipts; `receipt_id` is a uuid's bytes."""

    receipt_id: bytes
    client_id: str
    key: str
    command: str
    customer_id: str | None
    asset: str | None
    outcome: str
    answer: bytes
    position: int


class _Answer(msgspec.Struct):
    """What answers say of events, each of some of it."""

    grant_id: Any = None
    deduction_id: Any = None
    hold_id: Any = None
    refund_id: Any = None
    revocation_id: Any = None
    reinstatement_id: Any = None
    amount: Any = None
    released: Any = None


_read_answer: Final = msgspec.json.Decoder(_Answer).decode


class _Named(NamedTuple):
    """What a receipt's answer says of an event; `row` is the receipt."""

    row: TupleRow
    kind: type[Event]
    amount: Any


class ReceiptsAudit:
    """Holds receipts against the events that name them, and what events name against receipts."""

    def __init__(self, log: FrozenLog, findings: Findings) -> None:
        self.receipts = 0
        self._log = log
        self._findings = findings
        #: What events say that each receipt led to, by its id as a number: of those that answers
        #: name the first, and all others.
        self._first: dict[int, Caused] = {}
        self._others: dict[int, list[Caused]] = {}
        self._told: set[str] = set()
        self._elsewhere: dict[EventRef, _Named] = {}

    def run(self, ranges: range, caused: Iterable[Sequence[Caused]]) -> None:
        """Hold the receipts of some ranges, side by side, against what events say of them."""
        self._first, self._others, self._told = {}, {}, set()
        for some in caused:
            self._take_in(some)
        first_id, last_id = bounds(ranges)
        with self._log.connection.cursor("receipts", binary=True) as cursor:
            cursor.execute(_RECEIPTS, {"first": first_id, "last": last_id})
            while rows := cursor.fetchmany(_FETCHED_AT_ONCE):
                self.receipts += len(rows)
                self._check_all(rows)
        for receipt in {**self._first, **self._others}:
            place = _place(receipt >> SPARE_BITS)
            position = min(event[1] for event in self._events_of(receipt))
            report_unknown(self._findings, place, position)
        self._look_up()

    def _take_in(self, caused: Sequence[Caused]) -> None:
        first, others = self._first, self._others
        for event in caused:
            receipt = event[0]
            if event[2] and receipt not in first:
                first[receipt] = event
            elif receipt in others:
                others[receipt].append(event)
            else:
                others[receipt] = [event]

    def _events_of(self, receipt: int) -> list[Caused]:
        first = self._first.get(receipt)
        others = self._others.get(receipt, [])
        return others if first is None else [first, *others]

    def _check_all(self, rows: Sequence[TupleRow]) -> None:
        """Check receipts; one that names the event it led to, and no other, needs no more looks."""
        first, others, told, head = self._first, self._others, self._told, self._log.head
        number_of, read_answer, names = ids.receipt_number, _read_answer, _NAMES
        for row in rows:
            receipt_id, client_id, key, command, _, _, outcome, said, position = row
            number = int.from_bytes(receipt_id)
            receipt = number << SPARE_BITS
            event = first.get(receipt)
            if (
                event is not None
                and outcome == ACCEPTED
                and 0 <= event[1] <= position <= head
                and command in names
                and number_of(client_id, key) == number
            ):
                field, prefix, _ = names[command]
                try:
                    answer = read_answer(said)
                except msgspec.MsgspecError:
                    answer = _Answer()
                event_id = event[2]
                if (
                    getattr(answer, field) == event_id
                    and answer.amount == event[3]
                    and event_id[:3] == prefix
                    and event_id not in told
                    and (receipt not in others or _all_beside(others[receipt], position))
                ):
                    told.add(event_id)
                    del first[receipt]
                    others.pop(receipt, None)
                    continue
            self._check(row)

    def _check(self, row: TupleRow) -> None:
        # One of millions differs, if any, so nothing is made ready for a report.
        receipt_id, client_id, key, _, _, _, outcome, said, position = row
        number = int.from_bytes(receipt_id)
        own = ids.receipt_number(client_id, key)
        if own != number:
            what = "the id of its client and key"
            self._witness(row).report(what, UUID(int=own), UUID(int=number))
        if not 0 <= position <= self._log.head:
            self._witness(row).report("a position in the log", True, False)
        events = self._events_of(number << SPARE_BITS)
        self._first.pop(number << SPARE_BITS, None)
        self._others.pop(number << SPARE_BITS, None)
        try:
            answer = _read_answer(said)
        except msgspec.MsgspecError:
            self._witness(row).report("its answer can be read", "JSON", said)
            return
        if outcome == ACCEPTED:
            self._check_accepted(row, answer, events)
        elif events:
            first = min(event[1] for event in events)
            self._witness(row).report("events of a refused command", None, first)

    def _check_accepted(self, row: TupleRow, answer: _Answer, events: Sequence[Caused]) -> None:
        command, up_to = row[3], row[8]
        if not events and (command in _LEAVE_EVENTS or answer.released):
            self._witness(row).report("its events", "at least one", "none")
        field, prefix, kind = _NAMES.get(command, _NAMES_NOTHING)
        event_id = str(getattr(answer, field))
        named, late = None, False
        for event in events:
            if event[1] > up_to:
                late = True
            if event[2] == event_id:
                named = event
        if late:
            self._witness(row).report("its events up to its position", True, False)
        if not prefix:
            return
        if event_id in self._told:
            what = f"{field} is told once"
            self._witness(row).report(what, "one receipt", "another one, too")
        elif named is not None and event_id[:3] == prefix:
            self._check_named(row, answer.amount, named[3], named[1])
        else:
            # What a delivery brought about names the delivery.
            self._ask(field, prefix, event_id, _Named(row, kind, answer.amount))
        self._told.add(event_id)

    def _ask(self, field: str, prefix: str, event_id: str, named: _Named) -> None:
        ref = ids.parse_event_id(prefix, event_id)
        if ref is None:
            self._witness(named.row).report(field, "an id", event_id)
            return
        self._elsewhere[ref] = named
        if len(self._elsewhere) >= _BATCH:
            self._look_up()

    def _look_up(self) -> None:
        """What answers name is in the log, with the amount that was told."""
        asked, self._elsewhere = self._elsewhere, {}
        found = {EventRef(row.stream, row.version): row for row in self._log.at(asked.keys())}
        for ref, named in asked.items():
            found_row = found.get(ref)
            if found_row is None or not isinstance(found_row.event, named.kind):
                witness = self._witness(named.row)
                witness.report(
                    "what it was told of", named.kind.__name__, found_row and found_row.topic
                )
            else:
                amount = getattr(found_row.event, "amount", None)
                self._check_named(named.row, named.amount, amount, found_row.position)

    def _check_named(self, row: TupleRow, told: Any, amount: int | None, position: int) -> None:
        if told != amount:
            self._witness(row).report("amount that was told", amount, told)
        if position > row[8]:
            self._witness(row).report("an event up to its position", True, False)

    def _witness(self, row: TupleRow) -> Witness:
        receipt = _Receipt._make(row)
        place = _place(int.from_bytes(receipt.receipt_id))
        return Witness(self._findings, "receipts", place, receipt.customer_id, receipt.asset)


def _all_beside(events: Iterable[Caused], up_to: int) -> bool:
    """Whether no answer could name any of these events, and none is past a position."""
    return not any(event[2] or event[1] > up_to for event in events)


def _place(receipt: int) -> str:
    return ids.stream_id(ids.RECEIPT, UUID(int=receipt))
