"""Goes through the whole log, stream by stream, and proves what must hold of it.

One account is in memory at a time. What accounts say of each other and of other streams (trails,
transfers, refunds, payments) is looked up in batches, in both directions: what one side names must
be there, and the other side's number must be the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.events import ACCOUNT_EVENTS, TRAIL_EVENTS, AccountEvent, Event
from creditledger.domain.ids import EventRef
from creditledger.domain.link import LinkEvent
from creditledger.domain.payment_events import PaymentEvent
from creditledger.domain.price import PriceReported, PriceSet
from creditledger.projections.account_audit import AccountAudit
from creditledger.projections.billing_audit import NOWHERE, BillingAudit, PaymentAudit
from creditledger.projections.findings import Findings, Witness
from creditledger.projections.frozen_log import FrozenLog, Stored
from creditledger.projections.projection import BESIDE_ACCOUNTS
from creditledger.projections.provider_audit import ProviderAudit

#: What is looked up at a time.
_BATCH: Final = 500

_TRAIL_TOPICS: Final = frozenset(kind.TOPIC for kind in TRAIL_EVENTS)

#: What older logs say of a hold that was captured; nothing needs to be said of it.
_SAYS_NOTHING: Final = ("HoldEnded", "captured")


@dataclass(slots=True)
class Counts:
    """How much was gone through."""

    events: int = 0
    accounts: int = 0
    trails: int = 0
    payments: int = 0
    subscriptions: int = 0


@dataclass(slots=True)
class Totals:
    """What must be equal over the whole log: how often something is named, and is there."""

    trails_named: int = 0
    trails_there: int = 0
    transfers_received: int = 0
    transfers_sent: int = 0
    grants_bought: int = 0
    grants_named: int = 0
    periods_billed: int = 0
    periods_paid: int = 0

    def check(self, findings: Findings) -> None:
        """Report what is not equal."""
        whole = Witness(findings, "log", "the whole log")
        whole.expect(
            "trails that an account's events ask for", self.trails_named, self.trails_there
        )
        whole.expect("transfers received", self.transfers_sent, self.transfers_received)
        whole.expect("grants named by payments", self.grants_bought, self.grants_named)
        whole.expect("periods that payments pay for", self.periods_billed, self.periods_paid)


@dataclass(slots=True)
class _Questions:
    """What is still to be looked up."""

    trails: dict[UUID, tuple[str, list[tuple[Any, ...]]]] = field(default_factory=dict)
    transfers: dict[EventRef, tuple[int, str, str]] = field(default_factory=dict)
    refunds: dict[EventRef, Counter[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.trails) + len(self.transfers) + len(self.refunds)


@dataclass(slots=True)
class _Walk:
    """One stream, as far as it was walked through.

    `sound` is whether it can go on, `stands` whether all was well with the last event's columns.
    """

    stream: UUID
    account: AccountAudit | None = None
    payment: PaymentAudit | None = None
    told: ProviderAudit | None = None
    previous: Stored | None = None
    family: str | None = None
    sound: bool = True
    stands: bool = True

    def take_plain(self, rows: Sequence[Stored], first: int) -> int:
        """How many rows from the first on are plain, and were taken in: see `AccountAudit`."""
        if self.account is None or not self.sound or not self.stands:
            return 0
        taken = self.account.take_plain(rows, first)
        if taken:
            self.previous = rows[first + taken - 1]
        return taken


class LogAudit:
    """One walk through a frozen log, or through a part of its streams.

    `balances_at` is the checkpoint of the balances' read model; accounts as it should have them
    are handed to `compare`, some at a time.
    """

    def __init__(
        self, log: FrozenLog, findings: Findings, *, balances_at: int, at: datetime
    ) -> None:
        self.counts = Counts()
        self._log = log
        self._findings = findings
        self._balances_at = balances_at
        self._at = at
        self._questions = _Questions()
        self._billing = BillingAudit(log, findings)
        self._totals = Totals()

    def accounts(self) -> Iterator[CreditAccount]:
        """Walk through everything; yields each account as it was at the balances' checkpoint."""
        check_positions(self._log, self._findings)
        yield from self.walk()
        self.totals.check(self._findings)

    def walk(self) -> Iterator[CreditAccount]:
        """The same, but for what only the whole log can tell: see `totals`."""
        for stream, pieces in groupby(self._log.by_stream(), key=_stream_of):
            account = self._walk(stream, pieces)
            if account is not None and account.version:
                yield account
            if len(self._questions) + len(self._billing) >= _BATCH:
                self._answer()
        self._answer()

    @property
    def totals(self) -> Totals:
        """The totals of the streams that were walked through."""
        return replace(
            self._totals,
            grants_named=self._billing.grants,
            periods_billed=self._billing.periods_billed,
            periods_paid=self._billing.periods_paid,
        )

    def _walk(self, stream: UUID, pieces: Iterable[Sequence[Stored]]) -> CreditAccount | None:
        """One stream: its columns, and its own audit; the account, where it is one's."""
        walk = _Walk(stream)
        for piece in pieces:
            self.counts.events += len(piece)
            place = 0
            while place < len(piece):
                plain = walk.take_plain(piece, place)
                if not plain:
                    self._take_in(walk, piece[place])
                place += plain or 1
        payment, told, account = walk.payment, walk.told, walk.account
        if payment is not None:
            self.counts.payments += payment.payment.paid is not None
            self._billing.ask_payment(payment)
        if told is not None:
            self.counts.subscriptions += bool(told.subscription.version)
            self._billing.ask_period(told.period)
        if account is None:
            return None
        self.counts.accounts += 1
        account.close(self._at)
        self._ask_account(account)
        return account.seen

    def _take_in(self, walk: _Walk, row: Stored) -> None:
        event, previous = row.event, walk.previous
        walk.stands = event is not None and _stands(row, event, previous)
        if not walk.stands:
            walk.sound = self._check_columns(row, previous) and walk.sound
        if previous is None and row.topic in _TRAIL_TOPICS:
            self.counts.trails += 1
            self._totals.trails_there += _says(event) != _SAYS_NOTHING
        walk.previous = row
        if not walk.sound or event is None:
            return
        family = _FAMILIES[type(event)]
        if walk.family is None:
            walk.family = family
        elif walk.family != family:
            witness = Witness(self._findings, "log", _place(row))
            witness.report("is of its stream", walk.family, event)
            walk.sound = False
            return
        if isinstance(event, AccountEvent):
            walk.account = walk.account or AccountAudit(
                walk.stream, self._findings, checkpoint=self._balances_at
            )
            walk.account.take_in(row.position, event)
        elif isinstance(event, PaymentEvent):
            walk.payment = walk.payment or PaymentAudit(walk.stream, self._findings)
            walk.payment.take_in(row.position, event)
        else:
            walk.told = walk.told or ProviderAudit(walk.stream, self._findings)
            walk.told.take_in(event)

    def _check_columns(self, row: Stored, previous: Stored | None) -> bool:
        """Tell why an event does not stand where it says; whether its stream may go on."""
        event = row.event
        witness = Witness(
            self._findings,
            "log",
            _place(row),
            getattr(event, "customer_id", None),
            getattr(event, "asset", None),
        )
        if event is None:
            witness.report("can be read", "an event", row.fault)
            return False
        sound = witness.expect("version", previous.version + 1 if previous else 1, row.version)
        sound &= witness.expect("stream", row.stream, event.originator_id)
        sound &= witness.expect("version in the event", row.version, event.originator_version)
        witness.expect("topic", row.topic, event.TOPIC)
        witness.expect("recorded_at in the event", row.recorded_at, event.recorded_at)
        if previous is not None:
            later = row.position > previous.position
            witness.expect("a later position than the event before it", True, later)
            later = row.recorded_at >= previous.recorded_at
            witness.expect("no earlier time than the event before it", True, later)
        return sound

    # Questions: what one stream says of others.

    def _ask_account(self, account: AccountAudit) -> None:
        ask = self._questions
        for subject, story in account.trails.items():
            ask.trails[ids.trail_id(subject)] = (subject, story)
        for deduction_id, back in account.sums.refunds.items():
            ask.refunds[_ref(ids.DEDUCTION, deduction_id)] = back
        for transfer_id, amount in account.transfers_in.items():
            says = (amount, account.customer_id, account.asset)
            ask.transfers[_ref(ids.DEDUCTION, transfer_id)] = says
        self._totals.trails_named += len(account.trails)
        self._totals.transfers_received += len(account.transfers_in)
        self._totals.transfers_sent += account.transfers_out
        self._totals.grants_bought += account.bought

    def _answer(self) -> None:
        ask, self._questions = self._questions, _Questions()
        self._answer_trails(ask)
        self._billing.answer()
        wanted = ask.transfers.keys() | ask.refunds.keys()
        found = {EventRef(row.stream, row.version): row.event for row in self._log.at(wanted)}
        for ref, came in ask.transfers.items():
            self._answer_transfer(ref, came, found.get(ref))
        for ref, back in ask.refunds.items():
            self._answer_refund(ref, back, found.get(ref))

    def _answer_trails(self, ask: _Questions) -> None:
        rows = self._log.of_streams(ask.trails.keys())
        found = {
            stream: [_says(row.event) for row in events]
            for stream, events in groupby(rows, key=lambda row: row.stream)
        }
        for stream, (subject, says) in ask.trails.items():
            witness = Witness(self._findings, "log", f"trail of {subject}")
            witness.expect("what became of it", says, found.get(stream, []))

    def _answer_transfer(
        self, ref: EventRef, came: tuple[int, str, str], sent: Event | None
    ) -> None:
        amount, customer_id, asset = came
        place = f"transfer {_id(ids.DEDUCTION, ref)}"
        witness = Witness(self._findings, "log", place, customer_id, asset)
        if not isinstance(sent, e.Deducted):
            witness.report("was sent", amount, sent)
            return
        found = (sent.amount, sent.transfer_to, sent.asset)
        witness.expect("amount, receiver and asset that were sent", came, found)

    def _answer_refund(self, ref: EventRef, back: Counter[str], spent: Event | None) -> None:
        witness = Witness(self._findings, "log", f"refunds of {_id(ids.DEDUCTION, ref)}")
        if not isinstance(spent, e.Deducted):
            witness.report("was deducted", "a deduction", spent)
            return
        most = Counter({"": spent.overage})
        for leg in (*spent.lots, *spent.captured):
            most[leg.grant_id] += leg.amount
        witness.expect("refunded past what was spent", {}, dict(back - most))
        witness.expect("a transfer's deduction is refunded", None, spent.transfer_to)


def _place(row: Stored) -> str:
    return ids.event_id(ids.EVENT, ids.stream_key(row.stream), row.version)


def _stream_of(piece: Sequence[Stored]) -> UUID:
    return piece[0].stream


def _stands(row: Stored, event: Event, previous: Stored | None) -> bool:
    """Whether all is well with an event's columns, which is what nearly always is the case."""
    return (
        row.version == event.originator_version
        and row.stream.int == event.originator_id.int
        and row.topic == event.TOPIC
        and row.recorded_at == event.recorded_at
        and row.version == (previous.version + 1 if previous else 1)
        and (
            previous is None
            or (row.position > previous.position and row.recorded_at >= previous.recorded_at)
        )
    )


def check_positions(log: FrozenLog, findings: Findings) -> None:
    """Report where a position does not follow the one before."""
    for previous, position in log.gaps():
        witness = Witness(findings, "log", f"position {position}")
        witness.report("comes after", previous + 1, position)


def _family(kind: type[Event]) -> str:
    if issubclass(kind, AccountEvent):
        return "an account"
    if issubclass(kind, PaymentEvent):
        return "a payment"
    if issubclass(kind, LinkEvent):
        return "a link"
    if issubclass(kind, PriceSet | PriceReported):
        return "a price"
    if issubclass(kind, TRAIL_EVENTS):
        return "a trail"
    return kind.__name__


#: What the streams are of that may hold events of a class.
_FAMILIES: Final = {kind: _family(kind) for kind in (*ACCOUNT_EVENTS, *BESIDE_ACCOUNTS)}


def _says(event: Event | None) -> tuple[Any, ...]:
    match event:
        case e.HoldEnded():
            return ("HoldEnded", event.how)
        case e.DeductionRefunded():
            return ("DeductionRefunded", event.refunded)
        case e.GrantRevised():
            return ("GrantRevised", event.revoked, event.written_off, event.expires_at)
        case _:
            return (type(event).__name__,)


def _ref(prefix: str, text: str) -> EventRef:
    """Where the event behind an id stands; nowhere, where the text is no such id."""
    return ids.parse_event_id(prefix, text) or NOWHERE


def _id(prefix: str, ref: EventRef) -> str:
    return ids.event_id(prefix, ids.stream_key(ref.stream), ref.version)
