"""Proves that receipts and events agree: what was told is in the log, and nothing else is.

Receipts are read a range of ids at a time, beside what events say of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.receipt import ACCEPTED
from creditledger.projections.causes import Caused, bounds, report_unknown
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


#: Each is asked for once, so none is remembered.
_receipt_uuid: Final = ids.receipt_uuid.__wrapped__

_read_answer: Final = msgspec.json.Decoder(_Answer).decode


class _Named(NamedTuple):
    """What a receipt's answer says of an event."""

    receipt: _Receipt
    kind: type[Event]
    amount: Any


class ReceiptsAudit:
    """Holds receipts against the events that name them, and what events name against receipts."""

    def __init__(self, log: FrozenLog, findings: Findings) -> None:
        self.receipts = 0
        self._log = log
        self._findings = findings
        #: The first and the last position of the events of each receipt, by its id.
        self._spans: dict[bytes, tuple[int, int]] = {}
        #: Events that their own receipts may name, by id.
        self._events: dict[str, Caused] = {}
        self._told: set[str] = set()
        self._elsewhere: dict[EventRef, _Named] = {}

    def run(self, number: int, caused: Iterable[Sequence[Caused]]) -> None:
        """Hold the receipts of one range against what events say of it."""
        self._spans, self._events, self._told = {}, {}, set()
        for some in caused:
            self._take_in(some)
        first_id, last_id = bounds(number)
        with self._log.connection.cursor("receipts", binary=True) as cursor:
            cursor.execute(_RECEIPTS, {"first": first_id, "last": last_id})
            while rows := cursor.fetchmany(_FETCHED_AT_ONCE):
                self.receipts += len(rows)
                for row in rows:
                    self._check(_Receipt._make(row))
        for receipt_id, (first, _) in self._spans.items():
            report_unknown(self._findings, _place(receipt_id), first)
        self._look_up()

    def _take_in(self, caused: Sequence[Caused]) -> None:
        spans, events = self._spans, self._events
        for event in caused:
            receipt_id, position, event_id, _ = event
            span = spans.get(receipt_id)
            if span is None:
                spans[receipt_id] = (position, position)
            else:
                spans[receipt_id] = (min(span[0], position), max(span[1], position))
            if event_id:
                events[event_id] = event

    def _check(self, receipt: _Receipt) -> None:
        # One of millions differs, if any, so nothing is made ready for a report.
        own = _receipt_uuid(receipt.client_id, receipt.key)
        if own.int != int.from_bytes(receipt.receipt_id):
            found = UUID(bytes=receipt.receipt_id)
            self._witness(receipt).report("the id of its client and key", own, found)
        if not 0 <= receipt.position <= self._log.head:
            self._witness(receipt).report("a position in the log", True, False)
        span = self._spans.pop(receipt.receipt_id, None)
        try:
            answer = _read_answer(receipt.answer)
        except msgspec.MsgspecError:
            self._witness(receipt).report("its answer can be read", "JSON", receipt.answer)
            return
        if receipt.outcome == ACCEPTED:
            self._check_accepted(receipt, answer, span)
        elif span is not None:
            self._witness(receipt).report("events of a refused command", None, span[0])

    def _check_accepted(
        self, receipt: _Receipt, answer: _Answer, span: tuple[int, int] | None
    ) -> None:
        if span is not None:
            if span[1] > receipt.position:
                self._witness(receipt).report("its events up to its position", True, False)
        elif receipt.command in _LEAVE_EVENTS or answer.released:
            self._witness(receipt).report("its events", "at least one", "none")
        if receipt.command not in _NAMES:
            return
        field, prefix, kind = _NAMES[receipt.command]
        event_id = str(getattr(answer, field))
        named = _Named(receipt, kind, answer.amount)
        event = self._events.get(event_id)
        if event_id in self._told:
            what = f"{field} is told once"
            self._witness(receipt).report(what, "one receipt", "another one, too")
        elif event is not None and event[0] == receipt.receipt_id and event_id[:3] == prefix:
            self._check_named(named, event[3], event[1])
        else:
            # What a delivery brought about names the delivery.
            self._ask(field, prefix, event_id, named)
        self._told.add(event_id)

    def _ask(self, field: str, prefix: str, event_id: str, named: _Named) -> None:
        ref = ids.parse_event_id(prefix, event_id)
        if ref is None:
            self._witness(named.receipt).report(field, "an id", event_id)
            return
        self._elsewhere[ref] = named
        if len(self._elsewhere) >= _BATCH:
            self._look_up()

    def _look_up(self) -> None:
        """What answers name is in the log, with the amount that was told."""
        asked, self._elsewhere = self._elsewhere, {}
        found = {EventRef(row.stream, row.version): row for row in self._log.at(asked.keys())}
        for ref, named in asked.items():
            row = found.get(ref)
            if row is None or not isinstance(row.event, named.kind):
                witness = self._witness(named.receipt)
                witness.report("what it was told of", named.kind.__name__, row and row.topic)
            else:
                self._check_named(named, getattr(row.event, "amount", None), row.position)

    def _check_named(self, named: _Named, amount: int | None, position: int) -> None:
        receipt = named.receipt
        if amount != named.amount:
            witness = self._witness(receipt)
            witness.report("amount that was told", amount, named.amount)
        if position > receipt.position:
            self._witness(receipt).report("an event up to its position", True, False)

    def _witness(self, receipt: _Receipt) -> Witness:
        place = _place(receipt.receipt_id)
        return Witness(self._findings, "receipts", place, receipt.customer_id, receipt.asset)


def _place(receipt_id: bytes) -> str:
    return ids.stream_id(ids.RECEIPT, UUID(bytes=receipt_id))
