"""Proves that receipts and events agree: what was told is in the log, and nothing else is.

Receipts are read a range of ids at a time, beside what events say of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    SELECT receipt_id, client_id, key, command, customer_id, asset, outcome, answer, position
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
    """A row of receipts."""

    receipt_id: UUID
    client_id: str
    key: str
    command: str
    customer_id: str | None
    asset: str | None
    outcome: str
    answer: bytes
    position: int


class _Named(NamedTuple):
    """What a receipt's answer says of an event."""

    witness: Witness
    kind: type[Event]
    amount: Any
    position: int


class ReceiptsAudit:
    """Holds receipts against the events that name them, and what events name against receipts."""

    def __init__(self, log: FrozenLog, findings: Findings) -> None:
        self.receipts = 0
        self._log = log
        self._findings = findings
        #: The first and the last position of the events of each receipt, by its key.
        self._spans: dict[str, tuple[int, int]] = {}
        #: Events that their own receipts may name, by id.
        self._events: dict[str, Caused] = {}
        self._told: set[str] = set()
        self._elsewhere: dict[EventRef, _Named] = {}

    def run(self, number: int, caused: Iterable[Caused]) -> None:
        """Hold the receipts of one range against what events say of it."""
        self._spans, self._events, self._told = {}, {}, set()
        for event in caused:
            first, last = self._spans.get(event.receipt_key, (event.position, event.position))
            span = (min(first, event.position), max(last, event.position))
            self._spans[event.receipt_key] = span
            if event.event_id:
                self._events[event.event_id] = event
        first_id, last_id = bounds(number)
        with self._log.connection.cursor("receipts", binary=True) as cursor:
            cursor.execute(_RECEIPTS, {"first": first_id, "last": last_id})
            while rows := cursor.fetchmany(_FETCHED_AT_ONCE):
                for row in rows:
                    self._check(_Receipt._make(row))
        for receipt_key, (first, _) in self._spans.items():
            report_unknown(self._findings, f"{ids.RECEIPT}_{receipt_key}", first)
        self._look_up()

    def _check(self, receipt: _Receipt) -> None:
        self.receipts += 1
        receipt_key = ids.stream_key(receipt.receipt_id)
        place = f"{ids.RECEIPT}_{receipt_key}"
        witness = Witness(self._findings, "receipts", place, receipt.customer_id, receipt.asset)
        own = ids.receipt_uuid(receipt.client_id, receipt.key)
        witness.expect("the id of its client and key", own, receipt.receipt_id)
        within = 0 <= receipt.position <= self._log.head
        witness.expect("a position in the log", True, within)
        span = self._spans.pop(receipt_key, None)
        answer = _answer(receipt.answer)
        if answer is None:
            witness.report("its answer can be read", "JSON", receipt.answer)
        elif receipt.outcome != ACCEPTED:
            witness.expect("events of a refused command", None, span and span[0])
        else:
            self._check_accepted(receipt, receipt_key, answer, span, witness)

    def _check_accepted(
        self,
        receipt: _Receipt,
        receipt_key: str,
        answer: Mapping[str, Any],
        span: tuple[int, int] | None,
        witness: Witness,
    ) -> None:
        if span is not None:
            witness.expect("its events up to its position", True, span[1] <= receipt.position)
        elif receipt.command in _LEAVE_EVENTS or answer.get("released"):
            witness.report("its events", "at least one", "none")
        if receipt.command not in _NAMES:
            return
        field, prefix, kind = _NAMES[receipt.command]
        event_id = str(answer.get(field))
        named = _Named(witness, kind, answer.get("amount"), receipt.position)
        event = self._events.get(event_id)
        if event_id in self._told:
            witness.report(f"{field} is told once", "one receipt", "another one, too")
        elif event is not None and event.receipt_key == receipt_key and event_id[:3] == prefix:
            _check_named(named, event.amount, event.position)
        else:
            # What a delivery brought about names the delivery.
            self._ask(field, prefix, event_id, named)
        self._told.add(event_id)

    def _ask(self, field: str, prefix: str, event_id: str, named: _Named) -> None:
        ref = ids.parse_event_id(prefix, event_id)
        if ref is None:
            named.witness.report(field, "an id", event_id)
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
                kind = named.kind.__name__
                named.witness.report("what it was told of", kind, row and row.topic)
            else:
                _check_named(named, getattr(row.event, "amount", None), row.position)


def _check_named(named: _Named, amount: int | None, position: int) -> None:
    named.witness.expect("amount that was told", amount, named.amount)
    named.witness.expect("an event up to its position", True, position <= named.position)


def _answer(stored: bytes) -> dict[str, Any] | None:
    try:
        answer = msgspec.json.decode(stored)
    except msgspec.MsgspecError:
        return None
    return answer if isinstance(answer, dict) else None
