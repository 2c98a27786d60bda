"""What events say of the receipts that they come from, in files until the receipts are read.

The log is walked through stream by stream, and receipts are found by their ids: to hold one
against the other, what events say is sorted into files, each for a range of receipts. So memory
stays small, and the database need not read the events once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.events import Event
from creditledger.projections.findings import Findings, Witness

#: One range of receipts for each character that a key can begin with, which stands for five bits.
RANGES: Final = 32

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuv"
_RANGE_BITS: Final = 128 - 5

_KEYS: Final = 16_384

#: Lines that are kept before they are written.
_LINES: Final = 20_000

_PREFIX: Final = f"{ids.RECEIPT}_"
_CAUSE_LENGTH: Final = len(_PREFIX) + 26

#: The cause of what was wished without a key, which leaves no receipt.
_NOBODY: Final = ids.stream_id(ids.RECEIPT, UUID(int=0))

#: What answers name by its id, and how such an id begins.
NAMED: Final[Mapping[type[Event], str]] = {
    e.Granted: ids.GRANT,
    e.Deducted: ids.DEDUCTION,
    e.Held: ids.HOLD,
    e.Refunded: ids.REFUND,
    e.Revoked: ids.REVOCATION,
    e.Reinstated: ids.REINSTATEMENT,
}

_key_of = lru_cache(_KEYS)(ids.stream_key)


class Caused(NamedTuple):
    """An event that names a receipt; with its own id and amount where an answer could name it."""

    receipt_key: str
    position: int
    event_id: str
    amount: int


class Causes:
    """Takes in events and sorts what they say of receipts into files of a folder.

    Several processes may write to one folder, each with another `name`.
    """

    def __init__(self, folder: Path, name: str, findings: Findings) -> None:
        self._folder = folder
        self._name = name
        self._findings = findings
        self._lines: dict[str, list[str]] = {digit: [] for digit in _DIGITS}
        self._count = 0

    def take_in(self, position: int, event: Event) -> None:
        """Keep what an event says. What names no possible receipt is reported."""
        cause = event.context.causation_id
        if not cause.startswith(_PREFIX) or cause == _NOBODY:
            return
        lines = self._lines.get(cause[4:5])
        if lines is None or len(cause) != _CAUSE_LENGTH or not cause[4:].isalnum():
            report_unknown(self._findings, cause, position)
            return
        prefix = NAMED.get(type(event))
        if prefix is None:
            lines.append(f"{cause[4:]} {position}\n")
        else:
            own = f"{prefix}_{_key_of(event.originator_id)}{event.originator_version}"
            lines.append(f"{cause[4:]} {position} {own} {getattr(event, 'amount', 0)}\n")
        self._count += 1
        if self._count >= _LINES:
            self.write()

    def write(self) -> None:
        """Write what is still kept."""
        for digit, lines in self._lines.items():
            if lines:
                with (self._folder / f"{digit}.{self._name}").open("a") as file:
                    file.writelines(lines)
                lines.clear()
        self._count = 0


def caused(folder: Path, number: int) -> Iterator[Caused]:
    """What events say of the receipts in one of the `RANGES`."""
    for path in sorted(folder.glob(f"{_DIGITS[number]}.*")):
        with path.open() as file:
            for line in file:
                yield _read(line.split())


def _read(words: Sequence[str]) -> Caused:
    if len(words) == 2:
        return Caused(words[0], int(words[1]), "", 0)
    key, position, event_id, amount = words
    return Caused(key, int(position), event_id, int(amount))


def bounds(number: int) -> tuple[UUID, UUID]:
    """The first and the last id in one of the `RANGES`."""
    return UUID(int=number << _RANGE_BITS), UUID(int=((number + 1) << _RANGE_BITS) - 1)


def report_unknown(findings: Findings, cause: str, position: int) -> None:
    """Report a receipt that is not there."""
    witness = Witness(findings, "receipts", cause)
    witness.report("is there, because events name it", f"from position {position}", None)
