"""What events say of the receipts that they come from, in files until the receipts are read.

The log is walked through stream by stream, and receipts are found by their ids: to hold one
against the other, what events say is sorted into files, each for a range of receipts. So memory
stays small, and the database need not read the events once more.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.events import Event
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.frozen_log import Stored

#: One range of receipts for each character that a key can begin with, which stands for five bits.
RANGES: Final = 32

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_RANGE_BITS: Final = 128 - 5

#: Causes that are kept before they are written.
_KEPT: Final = 20_000

_PREFIX: Final = f"{ids.RECEIPT}_"

#: A receipt's id: 26 digits of base 32, of which the last two bits stand for nothing.
_RECEIPT: Final = re.compile(rf"{_PREFIX}[0-9a-v]{{25}}[048cgkos]")
_KEY_AT: Final = len(_PREFIX)
_BASE: Final = len(_DIGITS)

#: The last digit of a receipt's id has so many bits that stand for nothing.
SPARE_BITS: Final = 2

#: How long the length of what was written at once is, in bytes.
_LENGTH: Final = 8

#: The cause, in older logs, of what was wished without a key and left no receipt: now it is the
#: actor.
_NOBODY: Final = ids.stream_id(ids.RECEIPT, UUID(int=0))

#: An event that names a receipt: the receipt's id as a number, `SPARE_BITS` included, and the
#: event's position, with its own id and amount where an answer could name it, or "" and 0.
Caused = tuple[int, int, str, int]

#: What answers name by its id, and how such an id begins.
NAMED: Final[Mapping[type[Event], str]] = {
    e.Granted: ids.GRANT,
    e.Deducted: ids.DEDUCTION,
    e.Held: ids.HOLD,
    e.Refunded: ids.REFUND,
    e.Revoked: ids.REVOCATION,
    e.Reinstated: ids.REINSTATEMENT,
}


class Causes:
    """Takes in events and sorts what they say of receipts into files of a folder.

    Several processes may write to one folder, each with another `name`.
    """

    def __init__(self, folder: Path, name: str, findings: Findings) -> None:
        self._folder = folder
        self._name = name
        self._findings = findings
        self._ranges: dict[str, list[Caused]] = {digit: [] for digit in _DIGITS}
        self._count = 0

    def take_in(self, events: Sequence[Stored]) -> None:
        """Keep what events of one stream say; report what is no receipt's id."""
        key = ""
        is_receipt, prefixes, ranges = _RECEIPT.fullmatch, NAMED, self._ranges
        for stored in events:
            event = stored.event
            if event is None:
                continue
            cause = event.context.causation_id
            if is_receipt(cause) is None:
                if cause.startswith(_PREFIX):
                    report_unknown(self._findings, cause, stored.position)
                continue
            if cause == _NOBODY:
                continue
            prefix = prefixes.get(type(event))
            if prefix is None:
                caused = (int(cause[_KEY_AT:], _BASE), stored.position, "", 0)
            else:
                key = key or ids.stream_key(stored.stream)
                own = f"{prefix}_{key}{event.originator_version}"
                amount = event.amount  # type: ignore[attr-defined]
                caused = (int(cause[_KEY_AT:], _BASE), stored.position, own, amount)
            ranges[cause[_KEY_AT]].append(caused)
        self._count += len(events)
        if self._count >= _KEPT:
            self.write()

    def write(self) -> None:
        """Write what is still kept."""
        for digit, caused in self._ranges.items():
            if caused:
                # The files are read by the same Python and live as long as the proof.
                packed = marshal.dumps(caused)
                with (self._folder / f"{digit}.{self._name}").open("ab") as file:
                    file.write(len(packed).to_bytes(_LENGTH) + packed)
                caused.clear()
        self._count = 0


def caused(folder: Path, ranges: range) -> Iterator[list[Caused]]:
    """What events say of the receipts in some of the `RANGES`, some events at a time."""
    digits = _DIGITS[ranges.start : ranges.stop]
    for path in sorted(folder.glob(f"[{digits}].*")):
        with path.open("rb") as file:
            while length := file.read(_LENGTH):
                yield marshal.loads(file.read(int.from_bytes(length)))


def bounds(ranges: range) -> tuple[UUID, UUID]:
    """The first and the last id in some of the `RANGES`, side by side."""
    return UUID(int=ranges.start << _RANGE_BITS), UUID(int=(ranges.stop << _RANGE_BITS) - 1)


def report_unknown(findings: Findings, cause: str, position: int) -> None:
    """Report a receipt that is not there."""
    witness = Witness(findings, "receipts", cause)
    witness.report("is there, because events name it", f"from position {position}", None)
