"""Proves that receipts and events agree: what was told is in the log, and nothing else is.

Both are read in the order of the receipts' ids, side by side, so memory stays small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg.rows import dict_row

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.events import Event
from creditledger.domain.ids import EventRef
from creditledger.domain.receipt import ACCEPTED
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.frozen_log import FrozenLog

_BATCH: Final = 500
_FETCHED_AT_ONCE: Final = 2_000

# Each receipt that events name as their cause, with the positions of the first and last of them.
_CAUSES: Final = """
    SELECT cause, min(position) AS first, max(position) AS last
    FROM (
        SELECT position, state #>> '{context,causation_id}' AS cause FROM ledger_log
    ) AS events
    WHERE cause LIKE 'rcp\\_%%' AND cause <> %(nobody)s
    GROUP BY cause
    ORDER BY cause COLLATE "C"
"""

_RECEIPTS: Final = "SELECT * FROM receipts ORDER BY receipt_id"

#: The cause of what was wished without a key, which leaves no receipt.
_NOBODY: Final = ids.stream_id(ids.RECEIPT, UUID(int=0))

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


class ReceiptsAudit:
    """One walk through all receipts and all causes."""

    def __init__(self, log: FrozenLog, findings: Findings) -> None:
        self.receipts = 0
        self._log = log
        self._findings = findings
        self._named: dict[EventRef, tuple[Witness, type[Event], Any, int]] = {}

    def run(self) -> None:
        """Hold every receipt against the events that name it, and every cause against its own."""
        causes = self._stream("causes", _CAUSES, {"nobody": _NOBODY})
        cause = next(causes, None)
        for receipt in self._stream("receipts", _RECEIPTS, {}):
            self.receipts += 1
            public_id = ids.stream_id(ids.RECEIPT, receipt["receipt_id"])
            while cause is not None and cause["cause"] < public_id:
                self._report_unknown(cause)
                cause = next(causes, None)
            mine = cause if cause is not None and cause["cause"] == public_id else None
            self._check(receipt, public_id, mine)
            if mine is not None:
                cause = next(causes, None)
            if len(self._named) >= _BATCH:
                self._look_up()
        while cause is not None:
            self._report_unknown(cause)
            cause = next(causes, None)
        self._look_up()

    def _check(
        self, receipt: Mapping[str, Any], public_id: str, cause: Mapping[str, Any] | None
    ) -> None:
        witness = Witness(
            self._findings, "receipts", public_id, receipt["customer_id"], receipt["asset"]
        )
        own = ids.receipt_uuid(receipt["client_id"], receipt["key"])
        witness.expect("the id of its client and key", own, receipt["receipt_id"])
        within = 0 <= receipt["position"] <= self._log.head
        witness.expect("a position in the log", True, within)
        answer = _answer(receipt)
        if answer is None:
            witness.report("its answer can be read", "JSON", receipt["answer"])
            return
        if receipt["outcome"] != ACCEPTED:
            witness.expect("events of a refused command", None, cause and cause["first"])
            return
        if cause is not None:
            in_time = cause["last"] <= receipt["position"]
            witness.expect("its events up to its position", True, in_time)
        elif receipt["command"] in _LEAVE_EVENTS or answer.get("released"):
            witness.report("its events", "at least one", "none")
        if receipt["command"] in _NAMES:
            field, prefix, kind = _NAMES[receipt["command"]]
            ref = ids.parse_event_id(prefix, str(answer.get(field)))
            if ref is None:
                witness.report(field, "an id", answer.get(field))
            elif ref in self._named:
                witness.report(f"{field} is told once", "one receipt", "another one, too")
            else:
                self._named[ref] = (witness, kind, answer.get("amount"), receipt["position"])

    def _look_up(self) -> None:
        """What answers name is in the log, with the amount that was told."""
        named, self._named = self._named, {}
        found = {EventRef(row.stream, row.version): row for row in self._log.at(named.keys())}
        for ref, (witness, kind, amount, position) in named.items():
            row = found.get(ref)
            if row is None or not isinstance(row.event, kind):
                witness.report("what it was told of", kind.__name__, row and row.topic)
                continue
            witness.expect("amount that was told", getattr(row.event, "amount", None), amount)
            witness.expect("an event up to its position", True, row.position <= position)

    def _report_unknown(self, cause: Mapping[str, Any]) -> None:
        witness = Witness(self._findings, "receipts", cause["cause"])
        witness.report("is there, because events name it", f"from position {cause['first']}", None)

    def _stream(
        self, name: str, statement: str, values: Mapping[str, Any]
    ) -> Iterator[Mapping[str, Any]]:
        connection: Connection[Any] = self._log.connection
        with connection.cursor(name, row_factory=dict_row) as cursor:
            cursor.itersize = _FETCHED_AT_ONCE
            cursor.execute(statement, values)
            yield from cursor


def _answer(receipt: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        answer = msgspec.json.decode(receipt["answer"])
    except msgspec.MsgspecError:
        return None
    return answer if isinstance(answer, dict) else None
