"""The consumer of webhooks: takes deliveries from the stream and wishes them of the ledger.

Exactly once in effect comes from natural identities in the ledger, not from here: a delivery may
be tried any number of times. What cannot be booked yet is parked, and tried again by itself when
what it waits for is recorded; what fails is tried again a bounded number of times.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import monotonic
from traceback import format_exception
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import orjson

from creditledger.consumers import polar, stripe
from creditledger.consumers.lookups import LOOK_UP_SECONDS, LineItems, LookingUp
from creditledger.consumers.reading import Ignored, Told
from creditledger.domain import ids, waiting
from creditledger.domain.commands import Command
from creditledger.domain.errors import Failed, LedgerError, Parked, Untimely
from creditledger.domain.provider_commands import PaymentCommand, RecordPurchase
from creditledger.domain.receipt import ACCEPTED, Batch, Outcome, Receipt, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.delivery import Delivery, Taken, Verdict
from creditledger.infra.group_commit import Overloaded

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

#: Tries in a row that may fail by themselves; then the delivery is `failed`.
FAULTS_MAX: Final = 8

#: The wait after the first such try; it doubles with each of them.
RETRY_SECONDS_FIRST: Final = 1.0
RETRY_SECONDS_MAX: Final = 300.0

#: The wait where the ledger cannot be reached or is too busy, which is not the delivery's fault.
UNAVAILABLE_SECONDS: Final = 5.0

#: How long an answer of the ledger may take, before its outcome counts as unknown.
ANSWER_SECONDS_MAX: Final = 60.0


class Writer(Protocol):
    """The door to the ledger."""

    def submit(self, item: Wish | Batch) -> Future[Outcome]:
        """Have a wish decided."""


@dataclass(slots=True)
class _Try:
    """A delivery that is being tried: what it still wishes, and which of its key come behind it."""

    taken: Taken
    commands: deque[Command]
    payment: str | None
    behind: deque[Taken]


class Runner:
    """Turns deliveries into commands, and what they were told into verdicts.

    `now` is the clock, aware; `line_items` looks up what was bought where a body does not say it,
    and may raise LookingUp.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        now: Callable[[], datetime],
        stripe_livemode: bool,
        line_items: LineItems | None = None,
    ) -> None:
        self._writer = writer
        self._now = now
        self._stripe_livemode = stripe_livemode
        self._line_items = line_items

    def handle(self, batch: Sequence[Taken]) -> None:
        """Try deliveries together, those of one key one after another, and settle each.

        Never raises: what goes wrong is a verdict. One that is to be tried again keeps those of
        its key behind it from being tried.
        """
        under_way = [begun for line in _lines(batch) if (begun := self._next(line)) is not None]
        while under_way:
            # All are asked before any answer is waited for, so that they share the commits.
            asked = [(a_try, self._ask(a_try)) for a_try in under_way]
            deadline = monotonic() + ANSWER_SECONDS_MAX
            heeded = [self._heed(a_try, answer, deadline) for a_try, answer in asked]
            under_way = [a_try for a_try in heeded if a_try is not None]

    def _next(self, line: deque[Taken]) -> _Try | None:
        """The first in line that has something to wish; those before it are settled."""
        while line:
            taken = line.popleft()
            told = _minding(taken, partial(self._read, taken))
            if told is not None:
                return _Try(taken, deque(told.commands), _payment(told.commands), line)
            if _is_to_be_tried_again(taken):
                break
        return None

    def _read(self, taken: Taken) -> Told | None:
        try:
            told = self._translate(taken.delivery)
        except Parked as parked:
            taken.settle(_parked(parked.values, (), taken.position))
        except LookingUp:
            taken.settle(_later("looking_up", None, LOOK_UP_SECONDS, taken.faults))
        else:
            if isinstance(told, Told) and told.commands:
                return told
            taken.settle(_without_wishes(told))
        return None

    def _ask(self, a_try: _Try) -> Future[Outcome] | None:
        wish = self._wish(a_try.taken.delivery, a_try.commands[0])
        return _minding(a_try.taken, partial(self._writer.submit, wish))

    def _heed(self, a_try: _Try, answer: Future[Outcome] | None, deadline: float) -> _Try | None:
        """What is tried after this answer: more of the same, or the next in line."""
        taken = a_try.taken
        if answer is not None:
            verdict = _minding(taken, partial(_answered, a_try, answer, deadline))
            if verdict is not None:
                a_try.commands.popleft()
                if verdict.status == "done" and a_try.commands:
                    return a_try
                taken.settle(replace(verdict, payment=a_try.payment))
        return None if _is_to_be_tried_again(taken) else self._next(a_try.behind)

    def _translate(self, delivery: Delivery) -> Told | Ignored:
        event: Mapping[str, Any] = orjson.loads(delivery.body)
        if delivery.provider == "polar":
            return polar.translate(event)
        told = stripe.translate(event, livemode=self._stripe_livemode)
        if isinstance(told, Ignored) or told.lines_of is None or self._line_items is None:
            return told
        return replace(told, commands=tuple(self._with_lines(told, c) for c in told.commands))

    def _with_lines(self, told: Told, command: Command) -> Command:
        """A purchase that does not say what was bought, with what the provider's API says."""
        if isinstance(command, RecordPurchase) and command.lines is None:
            assert self._line_items is not None
            assert told.lines_of is not None
            return replace(command, lines=tuple(self._line_items(told.lines_of)))
        return command

    def _wish(self, delivery: Delivery, command: Command) -> Wish:
        return Wish(
            command=self._in_the_past(command),
            actor=f"provider:{delivery.provider}",
            client_id=f"provider:{delivery.provider}",
            # Natural identities protect what providers tell: a key would only remember refusals.
            key=None,
            causation_id=delivery.delivery_id,
            correlation_id=delivery.delivery_id,
        )

    def _in_the_past(self, command: Command) -> Command:
        """The command with a time that is not ahead of our clock: a provider's clock may be."""
        now = self._now()
        if command.happened_at is None or command.happened_at <= now:
            return command
        return replace(command, happened_at=now)


def _lines(batch: Sequence[Taken]) -> list[deque[Taken]]:
    """The deliveries of each key, in order."""
    lines: defaultdict[str, deque[Taken]] = defaultdict(deque)
    for taken in batch:
        lines[taken.delivery.stream_key].append(taken)
    return list(lines.values())


def _is_to_be_tried_again(taken: Taken) -> bool:
    return taken.verdict is None or taken.verdict.status == "received"


def _minding(taken: Taken, step: Callable[[], T]) -> T | None:
    """What a step of a try returns; or None where it went wrong, which is the verdict then."""
    try:
        return step()
    except (Unavailable, Overloaded, TimeoutError) as error:
        taken.settle(_later("unavailable", str(error), UNAVAILABLE_SECONDS, taken.faults))
    except Exception as error:  # noqa: BLE001 - the worker goes on with other deliveries
        _LOG.exception("delivery %s failed", taken.delivery.delivery_id)
        taken.settle(_fault(taken.faults, error))
    return None


def _answered(a_try: _Try, answer: Future[Outcome], deadline: float) -> Verdict:
    """What the ledger's answer to the try's first command means for the delivery."""
    command, position = a_try.commands[0], a_try.taken.position
    outcome = answer.result(timeout=max(0.0, deadline - monotonic()))
    if isinstance(outcome, Failed):
        raise outcome
    if isinstance(outcome, Parked):
        return _parked(outcome.values, _payment_streams(command), position)
    if isinstance(outcome, LedgerError):
        return Verdict(status="failed", reason=outcome.code, detail=outcome.message)
    assert isinstance(outcome, Receipt)
    if outcome.outcome != ACCEPTED:
        detail = str(outcome.answer.get("detail"))
        if outcome.outcome == Untimely.code:
            # The clock was set back between the look at it here and the ledger's.
            return _later(outcome.outcome, detail, UNAVAILABLE_SECONDS, a_try.taken.faults)
        return Verdict(status="failed", reason=outcome.outcome, detail=detail)
    if "waits_for" in outcome.answer:
        seen = max(position, outcome.position)
        return _parked(outcome.answer, _payment_streams(command), seen)
    return Verdict(status="done", position=outcome.position)


def _without_wishes(told: Told | Ignored) -> Verdict:
    if isinstance(told, Ignored):
        return Verdict(status="ignored", reason=told.reason)
    return Verdict(status="done")


def _later(reason: str, detail: str | None, seconds: float, faults: int) -> Verdict:
    """Another try, for which the delivery is not to blame."""
    return Verdict(
        status="received", reason=reason, detail=detail, retry_seconds=seconds, faults=faults
    )


def _parked(values: Mapping[str, Any], streams: tuple[UUID, ...], position: int) -> Verdict:
    waits_for = values.get("waits_for")
    awaits = (waiting.stream_of(waits_for), *streams) if waits_for else ()
    return Verdict(
        status="parked",
        reason=values["reason"],
        detail=values.get("detail"),
        waits_for=waits_for,
        awaits=tuple(dict.fromkeys(awaits)),
        seen_position=position,
    )


def _fault(faults: int, error: Exception) -> Verdict:
    """Another try after a while, or none where there were too many in a row."""
    failed = faults + 1 >= FAULTS_MAX
    return Verdict(
        status="failed" if failed else "received",
        reason="error",
        detail=f"{type(error).__name__}: {error}",
        trace="".join(format_exception(error)),
        retry_seconds=0.0 if failed else min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * 2**faults),
        faults=faults + 1,
    )


def _payment(commands: Sequence[Command]) -> str | None:
    """The provider's id of the payment that the commands are about."""
    return next((c.provider_id for c in commands if isinstance(c, PaymentCommand)), None)


def _payment_streams(command: Command) -> tuple[UUID, ...]:
    """Where news about the command's payment would stand."""
    if not isinstance(command, PaymentCommand):
        return ()
    return (ids.payment_stream(command.provider, command.provider_id),)
