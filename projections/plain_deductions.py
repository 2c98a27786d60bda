"""The commonest events of an account, one after the other: plain deductions from its first lot.

Nothing follows from one of them but that the lot has less. So a run of them is checked event by
event against plain numbers, and then taken in as one deduction of their sum, by whoever has to
know. What is plain is decided so narrowly that nothing could be found in a run that the general
way would have found.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import CREDITS_MAX, Credits
from creditledger.domain.events import AccountEvent, Deducted, LotAmount
from creditledger.projections.account_sums import AccountSums
from creditledger.projections.frozen_log import Stored


class PlainDeductions:
    """A run of deductions of one account, each of which takes from one lot, and leaves some there.

    It begins where both folds, `account` and `sums`, agree with the balance `after` the event that
    they took in last, and ends with the first event that is not plain, or with `take_out`.
    """

    __slots__ = ("_account", "_after", "_amount", "_before", "_grant_id", "_last", "_left",
                 "_position", "_since", "_sums", "_version")  # fmt: skip

    def __init__(self, account: CreditAccount, sums: AccountSums) -> None:
        self._account = account
        self._sums = sums
        #: What is free in the lot; nothing is where no run can begin.
        self._left = 0
        self._grant_id = ""
        self._amount = 0
        self._version = 0
        self._position = 0
        self._last: Deducted | None = None

    def begin(self, position: int, event: AccountEvent) -> None:
        """Let a run follow this event, which both folds have taken in and agree with."""
        self._left = 0
        account, sums = self._account, self._sums
        if event.after.scheduled or account.overage_used:
            return
        if sums.total > CREDITS_MAX or sums.debt > CREDITS_MAX:
            return
        summed = sums.first(event.recorded_at)
        lot = None if summed is None else account.lots.get(summed.grant_id)
        if summed is None or lot is None or not summed.in_range:
            return
        self._grant_id = summed.grant_id
        self._left = min(lot.remaining, summed.free)
        self._after = event.after
        self._position = position
        self._version = event.originator_version
        # Until then the lot has not ended, and no other one starts that may come before it.
        self._since = event.recorded_at
        self._before = sums.next_change(summed)

    @property
    def goes_on(self) -> bool:
        """Whether a plain deduction could be next."""
        return self._left > 0

    def takes(self, rows: Sequence[Stored], first: int, up_to: int) -> int:
        """How many rows from the first on are plain, stand where they say, and go on with the run.

        None past the position `up_to`. Where it is fewer than all, the run is at its end.
        """
        account = self._account
        own, customer_id, asset, grant_id = (
            account.id.int, account.customer_id, account.asset, self._grant_id
        )  # fmt: skip
        left, version, since, before = self._left, self._version, self._since, self._before
        position, after = self._position, self._after
        available, held, debt, overage = after.available, after.held, after.debt, after.overage
        last = None
        taken = 0
        for row in islice(rows, first, None):
            event = row.event
            if type(event) is not Deducted or len(event.lots) != 1:
                break
            leg, amount, after, at = event.lots[0], event.amount, event.after, event.recorded_at
            if not (
                leg.grant_id == grant_id
                and leg.amount == amount
                and 0 < amount < left
                and after.available == available - amount
                and after.held == held
                and after.debt == debt
                and after.overage == overage
                and not after.scheduled
                and not event.overage
                and not event.captured
                and event.hold_id is None
                and event.transfer_to is None
                and event.customer_id == customer_id
                and event.asset == asset
                and event.originator_version == version + 1 == row.version
                and event.originator_id.int == own
                and row.topic == event.TOPIC
                and position < row.position <= up_to
                and since <= at < before
                and at == row.recorded_at
            ):
                break
            left -= amount
            available -= amount
            version += 1
            position = row.position
            since = at
            last = event
            taken += 1
        if last is not None:
            self._amount += self._left - left
            self._left, self._version, self._since = left, version, since
            self._position, self._after, self._last = position, last.after, last
        return taken

    def take_out(self) -> Deducted | None:
        """End the run: one deduction of its sum, with the account's next version; None if empty."""
        last, amount = self._last, Credits(self._amount)
        self._left, self._amount, self._last = 0, 0, None
        if last is None:
            return None
        return Deducted(
            originator_id=last.originator_id,
            originator_version=self._account.version + 1,
            recorded_at=last.recorded_at,
            context=last.context,
            customer_id=last.customer_id,
            asset=last.asset,
            after=last.after,
            amount=amount,
            lots=(LotAmount(self._grant_id, amount),),
            overage=last.overage,
        )

    @property
    def version(self) -> int:
        """The version of the run's last event."""
        return self._version
