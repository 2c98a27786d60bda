"""The commonest events of an account, one after the other: plain deductions from its first lot.

Nothing follows from one of them but that the lot has less. So a run of them is checked event by
event against plain numbers, and then taken in as one deduction of their sum, by whoever has to
know. What is plain is decided so narrowly that nothing could be found in a run that the general
way would have found.
"""

from __future__ import annotations

from dataclasses import replace

from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import CREDITS_MAX, Credits
from creditledger.domain.events import Balance, Deducted, LotAmount
from creditledger.projections.account_sums import AccountSums


class PlainDeductions:
    """A run of deductions of one account, each of which takes from one lot, and leaves some there.

    It begins where both folds, `account` and `sums`, agree with the balance `after` the deduction
    that they took in last, and ends with the first event that is not plain, or with `take_out`.
    """

    __slots__ = ("_account", "_after", "_amount", "_before", "_grant_id", "_last", "_left",
                 "_since", "_sums", "_version")  # fmt: skip

    def __init__(self, account: CreditAccount, sums: AccountSums) -> None:
        self._account = account
        self._sums = sums
        #: What is free in the lot; nothing is where no run can begin.
        self._left = 0
        self._grant_id = ""
        self._amount = 0
        self._version = 0
        self._last: Deducted | None = None

    def begin(self, event: Deducted) -> None:
        """Let a run follow this event, which both folds have taken in and agree with."""
        self._left = 0
        account, sums = self._account, self._sums
        if len(event.lots) != 1 or event.after.scheduled or account.overage_used:
            return
        if sums.total > CREDITS_MAX or sums.debt > CREDITS_MAX:
            return
        grant_id = event.lots[0].grant_id
        lot, summed = account.lots.get(grant_id), sums.lots[grant_id]
        if lot is None or sums.first(event.recorded_at) is not summed or not summed.in_range:
            return
        self._grant_id = grant_id
        self._left = min(lot.remaining, summed.free)
        self._after = event.after
        self._version = event.originator_version
        # Until then the lot has not ended, and no other one starts that may come before it.
        self._since = event.recorded_at
        self._before = sums.next_change(summed)

    def takes(self, event: Deducted) -> bool:
        """Whether an event is plain and goes on with the run; if not, the run is at its end."""
        if not self._left or len(event.lots) != 1:
            return False
        (leg,) = event.lots
        amount, after, was = event.amount, event.after, self._after
        if (
            leg.grant_id == self._grant_id
            and leg.amount == amount
            and 0 < amount < self._left
            and after.available == was.available - amount
            and after.held == was.held
            and after.scheduled == was.scheduled
            and after.debt == was.debt
            and after.overage == was.overage
            and not event.overage
            and not event.captured
            and event.hold_id is None
            and event.transfer_to is None
            and event.originator_version == self._version + 1
            and self._since <= event.recorded_at < self._before
            and event.customer_id == self._account.customer_id
            and event.asset == self._account.asset
        ):
            self._left -= amount
            self._amount += amount
            self._after = after
            self._version += 1
            self._since = event.recorded_at
            self._last = event
            return True
        return False

    @property
    def after(self) -> Balance:
        """The balance after the run's last event."""
        return self._after

    def take_out(self) -> Deducted | None:
        """End the run: one deduction of its sum, with the account's next version; None if empty."""
        last, amount = self._last, Credits(self._amount)
        self._left, self._amount, self._last = 0, 0, None
        if last is None:
            return None
        return replace(
            last,
            originator_version=self._account.version + 1,
            amount=amount,
            lots=(LotAmount(self._grant_id, amount),),
        )

    @property
    def version(self) -> int:
        """The version of the run's last event."""
        return self._version
