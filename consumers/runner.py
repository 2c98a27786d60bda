"""The consumer of webhooks: takes deliveries from the stream and wishes them of the ledger.

Exactly once in effect comes from natural identities in the ledger, not from here: a delivery may
be tried any number of times. What cannot be booked yet is parked, and tried again by itself when
what it waits for is recorded; what fails is tried again a bounded number of times.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from creditledger.consumers import polar, stripe
from creditledger.consumers.reading import Ignored, Told
from creditledger.domain import ids, waiting
from creditledger.domain.commands import Command
from creditledger.domain.errors import Failed, LedgerError, Parked
from creditledger.domain.provider_commands import PaymentCommand, PurchaseLine, RecordPurchase
from creditledger.domain.receipt import ACCEPTED, Batch, Outcome, Receipt, Wish
from creditledger.domain.store import Unavailable
from creditledger.infra.delivery import Delivery, Taken, Verdict
from creditledger.infra.group_commit import Overloaded

_LOG = logging.getLogger(__name__)

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


#: The lines of a Checkout Session or invoice, from the provider's API.
LineItems = Callable[[str], Sequence[PurchaseLine]]


class Runner:
    """Turns one delivery at a time into commands, and what they were told into a verdict.

    `now` is the clock, aware; `line_items` looks up what was bought where a body does not say it.
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

    def handle(self, taken: Taken) -> Verdict:
        """Try a delivery. Never raises: what goes wrong is part of the verdict."""
        try:
            return self._book(taken.delivery, taken.position)
        except (Unavailable, Overloaded, TimeoutError) as error:
            return Verdict(
                status="received",
                reason="unavailable",
                detail=str(error),
                retry_seconds=UNAVAILABLE_SECONDS,
                faults=taken.faults,
            )
        except Exception as error:  # noqa: BLE001 - the worker goes on with other deliveries
            _LOG.exception("delivery %s failed", taken.delivery.delivery_id)
            return _fault(taken.faults, f"{type(error).__name__}: {error}")

    def _book(self, delivery: Delivery, position: int) -> Verdict:
        try:
            told = self._translate(delivery)
        except Parked as parked:
            return _parked(parked.values, (), position)
        if isinstance(told, Ignored):
            return Verdict(status="ignored", reason=told.reason)
        payment = _payment(told.commands)
        verdict = Verdict(status="done")
        for command in told.commands:
            verdict = self._wish(delivery, command, position)
            if verdict.status != "done":
                break
        return replace(verdict, payment=payment)

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

    def _wish(self, delivery: Delivery, command: Command, position: int) -> Verdict:
        wish = Wish(
            command=self._in_the_past(command),
            actor=f"provider:{delivery.provider}",
            client_id=f"provider:{delivery.provider}",
            # Natural identities protect what providers tell: a key would only remember refusals.
            key=None,
            causation_id=delivery.delivery_id,
            correlation_id=delivery.delivery_id,
        )
        outcome = self._writer.submit(wish).result(timeout=ANSWER_SECONDS_MAX)
        if isinstance(outcome, Failed):
            raise outcome
        if isinstance(outcome, Parked):
            return _parked(outcome.values, _payment_streams(command), position)
        if isinstance(outcome, LedgerError):
            return Verdict(status="failed", reason=outcome.code, detail=outcome.message)
        assert isinstance(outcome, Receipt)
        if outcome.outcome != ACCEPTED:
            return Verdict(
                status="failed", reason=outcome.outcome, detail=str(outcome.answer.get("detail"))
            )
        if outcome.answer.get("waits_for") is not None:
            seen = max(position, outcome.position)
            return _parked(outcome.answer, _payment_streams(command), seen)
        return Verdict(status="done", position=outcome.position)

    def _in_the_past(self, command: Command) -> Command:
        """The command with a time that is not ahead of our clock: a provider's clock may be."""
        now = self._now()
        if command.happened_at is None or command.happened_at <= now:
            return command
        return replace(command, happened_at=now)


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


def _fault(faults: int, detail: str) -> Verdict:
    """Another try after a while, or none where there were too many in a row."""
    if faults + 1 >= FAULTS_MAX:
        return Verdict(status="failed", reason="error", detail=detail, faults=faults + 1)
    return Verdict(
        status="received",
        reason="error",
        detail=detail,
        retry_seconds=min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * 2**faults),
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
