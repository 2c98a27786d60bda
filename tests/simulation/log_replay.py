"""The commands of a log, played once more on the reference model in the log's order.

What is compared is every answer, accepted or refused, and every account at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from uuid import UUID

from against_model import compare, expect, picture, picture_of_model
from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.commands import TransferCredits
from creditledger.domain.due import evaluate
from creditledger.domain.events import Balance
from creditledger.domain.provider_commands import RecordPurchase
from creditledger.domain.receipt import Receipt
from memory_store import MemoryStore
from moves import ASSETS, PRICES, WHO, Step, Who, World, ids_of
from proofs import replayed


def play_again(log: MemoryStore, steps: Mapping[UUID, Step], world: World, at: datetime) -> None:
    """Assert that the model decides on the log's commands as the ledger did, and holds the same.

    `steps` are the model's plays by the ids of their receipts; `world` is changed.
    """
    replay = _Replay(log, world)
    decided = [receipt for id_, receipt in log.kept_receipts.items() if id_ in steps]
    for receipt in sorted(decided, key=replay.place):
        replay.play(receipt, steps[receipt.id])
    for who, model in world.accounts.items():
        model.pass_time(at)
        stream = ids.account_id(*who)
        account = evaluate(replayed(log.streams.get(stream, ()), stream), at)
        assert account.balance() == Balance(**model.balance(at)), who
        grants = ids_of(log, who, e.Granted, ids.GRANT)
        holds = ids_of(log, who, e.Held, ids.HOLD)
        held, expected = picture(account, grants, holds), picture_of_model(model)
        assert held == expected, f"{who}: {held}, and not {expected}"


class _Replay:
    """How far the log was played, and the moment that each account has reached."""

    def __init__(self, log: MemoryStore, world: World) -> None:
        self._log = log
        self._world = world
        self._played = 0
        self._reached: dict[Who, datetime] = {}
        self._streams = {ids.account_id(*who): who for who in WHO}
        self._writers = {event.context.causation_id for event in log.log}

    def place(self, receipt: Receipt) -> tuple[int, bool, datetime]:
        """Its place in the log: of those at one position, only the first has written there."""
        return receipt.position, not self._has_done(receipt), receipt.recorded_at

    def play(self, receipt: Receipt, step: Step) -> None:
        """Let the model decide on one command, at the moment at which the ledger did."""
        for event in self._log.log[self._played : receipt.position]:
            who = self._streams.get(event.originator_id)
            if who is not None:
                self._reached[who] = event.recorded_at
        self._played = max(self._played, receipt.position)
        # What has done nothing may have been decided at an earlier moment than what stands before
        # it, so it must not let time pass for others.
        world = self._world if self._has_done(receipt) else deepcopy(self._world)
        accounts = accounts_of(step)
        for who in accounts:
            world.accounts[who].pass_time(self._moment(receipt, who))
        now = self._moment(receipt, accounts[0])
        compare(expect(step, world, now), receipt, self._log)

    def _has_done(self, receipt: Receipt) -> bool:
        return receipt.public_id in self._writers

    def _moment(self, receipt: Receipt, who: Who) -> datetime:
        """For an account, time never goes back (domain/README.md, 3.1)."""
        return max(receipt.recorded_at, self._reached.get(who, receipt.recorded_at))


def accounts_of(step: Step) -> list[Who]:
    """The accounts that a command is about, its own first."""
    command = step.command
    if isinstance(command, RecordPurchase):
        assert command.customer_id is not None
        lines = command.lines or ()
        assets = {PRICES[line.price_id][0] for line in lines if line.price_id is not None}
        return [Who(command.customer_id, asset) for asset in ASSETS if asset in assets]
    assert step.who is not None
    if isinstance(command, TransferCredits):
        return [step.who, Who(command.to_customer_id, step.who.asset)]
    return [step.who]
