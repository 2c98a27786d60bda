"""Which decision a command gets, and which streams it will look at.

The one table that `Ledger` goes by: a new command is a dataclass, a decision and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from creditledger.domain import answers, ids
from creditledger.domain import commands as c
from creditledger.domain import provider_commands as p
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import CREDITS_MAX
from creditledger.domain.books import Books
from creditledger.domain.deductions import deduct_credits, set_overage_limit
from creditledger.domain.due import settle
from creditledger.domain.errors import Invalid, Untimely
from creditledger.domain.grants import change_expiry, grant_credits
from creditledger.domain.holds import capture_hold, hold_credits, release_hold
from creditledger.domain.link import close_link, link_customer
from creditledger.domain.payment import Payment
from creditledger.domain.price import report_price, set_price
from creditledger.domain.product import report_product
from creditledger.domain.purchases import assign_purchase, record_purchase
from creditledger.domain.refunds import refund_deduction
from creditledger.domain.removals import (
    report_dispute,
    report_refund,
    report_refund_total,
    tie_payment,
)
from creditledger.domain.revocations import reinstate_grant, revoke_grant
from creditledger.domain.subscription import report_subscription
from creditledger.domain.transfers import transfer_credits


class Rule(NamedTuple):
    """`decide` refuses before it records anything but what is due; `streams` is a forecast.

    `grants` goes on with it where those streams are at hand: the grants that it will look at. What
    the forecast misses is loaded when it is needed: that costs a query.
    """

    decide: Callable[[Any, Books], dict[str, Any]]
    streams: Callable[[Any], Iterable[UUID]]
    grants: Callable[[Any, Books], Iterable[str]] | None = None


def refuse_misfit(command: c.Command, now: datetime, books: Books) -> None:
    """Raise Invalid or Untimely where a command cannot be, whatever the accounts hold (2.1, 3.6).

    Callers have looked at the shape of what they were sent; credits are not left to them alone.
    """
    if command.happened_at is not None and command.happened_at > now:
        _look_whose(command, books)
        reason = f"lies in the future (now {answers.instant(now)})"
        raise Untimely(field="happened_at", reason=reason)
    for field, least in _RANGES_OF[type(command)]:
        credits_ = getattr(command, field)
        if isinstance(credits_, int) and not least <= credits_ <= CREDITS_MAX:
            reason = f"is {credits_}, and can be {least} to {CREDITS_MAX}"
            raise Invalid(field=field, reason=reason)


def _look_whose(command: c.Command, books: Books) -> None:
    """Look at the account of a command that is not decided, so that its receipt says whose it is.

    What is refused and remembered stands among somebody's refusals.
    """
    match command:
        case c.GrantCredits() | c.DeductCredits() | c.HoldCredits() | c.SetOverageLimit():
            books.account(command.customer_id, command.asset)
        case c.TransferCredits():
            books.account(command.from_customer_id, command.asset)
        case c.CaptureHold() | c.ReleaseHold():
            books.account_of(ids.parse_event_id(ids.HOLD, command.hold_id))
        case c.RefundDeduction():
            books.account_of(ids.parse_event_id(ids.DEDUCTION, command.deduction_id))
        case c.RevokeGrant() | c.ReinstateGrant() | c.ChangeExpiry():
            books.account_of(ids.parse_event_id(ids.GRANT, command.grant_id))


#: The fields of commands that carry credits, and the least of each.
_RANGES = (("amount", 1), ("limit", 0), ("credits", 0))


def expire_due(command: c.ExpireDue, books: Books) -> dict[str, Any]:
    """Write down what time has done to an account."""
    settle(books.get(CreditAccount, command.account_id), books)
    return {}


def _own_account(
    command: c.GrantCredits | c.DeductCredits | c.HoldCredits | c.SetOverageLimit,
) -> Iterable[UUID]:
    return (ids.account_id(command.customer_id, command.asset),)


def _both_accounts(command: c.TransferCredits) -> Iterable[UUID]:
    return (
        ids.account_id(command.from_customer_id, command.asset),
        ids.account_id(command.to_customer_id, command.asset),
    )


def _account_of(prefix: str, subject: str) -> Iterable[UUID]:
    ref = ids.parse_event_id(prefix, subject)
    return () if ref is None else (ref.stream,)


def _account_and_trail(prefix: str, subject: str) -> Iterable[UUID]:
    ref = ids.parse_event_id(prefix, subject)
    return () if ref is None else (ref.stream, ids.trail_id(subject))


def _payment(command: p.PaymentCommand) -> Iterable[UUID]:
    return (ids.payment_stream(command.provider, command.provider_id),)


def _granted(command: p.PaymentCommand, books: Books) -> Iterable[str]:
    """What was granted for the payment: what is refunded is taken from there."""
    stream = ids.payment_stream(command.provider, command.provider_id)
    return [grant.grant_id for grant in books.look(Payment, stream).grants]


def _purchase(command: p.RecordPurchase) -> Iterable[UUID]:
    yield from _payment(command)
    if command.customer_id is not None:
        # Few prices are in another asset.
        yield ids.account_id(command.customer_id, _CREDITS)
    if command.provider_customer_id is not None:
        yield ids.link_stream(command.provider, command.provider_customer_id)
    for line in command.lines or ():
        if line.price_id is not None:
            yield ids.price_stream(command.provider, line.price_id)
        if line.period is not None:
            name = command.subscription_id or command.provider_id
            yield ids.period_stream(command.provider, name, line.period.end)


def _subscription(command: p.ReportSubscription) -> Iterable[UUID]:
    yield ids.subscription_stream(command.provider, command.subscription_id)
    if command.provider_customer_id is not None:
        yield ids.link_stream(command.provider, command.provider_customer_id)


def _link(command: p.LinkCustomer | p.CloseLink) -> Iterable[UUID]:
    return (ids.link_stream(command.provider, command.provider_customer_id),)


#: The asset of prices that name none.
_CREDITS: Final = "credits"

RULES: dict[type[c.Command], Rule] = {
    c.GrantCredits: Rule(grant_credits, _own_account),
    c.DeductCredits: Rule(deduct_credits, _own_account),
    c.HoldCredits: Rule(hold_credits, _own_account),
    c.SetOverageLimit: Rule(set_overage_limit, _own_account),
    c.TransferCredits: Rule(transfer_credits, _both_accounts),
    c.CaptureHold: Rule(capture_hold, lambda x: _account_of(ids.HOLD, x.hold_id)),
    c.ReleaseHold: Rule(release_hold, lambda x: _account_of(ids.HOLD, x.hold_id)),
    c.RefundDeduction: Rule(
        refund_deduction, lambda x: _account_and_trail(ids.DEDUCTION, x.deduction_id)
    ),
    c.RevokeGrant: Rule(revoke_grant, lambda x: _account_and_trail(ids.GRANT, x.grant_id)),
    c.ReinstateGrant: Rule(reinstate_grant, lambda x: _account_and_trail(ids.GRANT, x.grant_id)),
    c.ChangeExpiry: Rule(change_expiry, lambda x: _account_and_trail(ids.GRANT, x.grant_id)),
    p.RecordPurchase: Rule(record_purchase, _purchase, _granted),
    p.AssignPurchase: Rule(assign_purchase, _payment),
    p.ReportRefund: Rule(report_refund, _payment, _granted),
    p.ReportRefundTotal: Rule(report_refund_total, _payment, _granted),
    p.TiePayment: Rule(tie_payment, _payment, _granted),
    p.ReportDispute: Rule(report_dispute, _payment, _granted),
    p.ReportSubscription: Rule(report_subscription, _subscription),
    p.ReportProduct: Rule(
        report_product, lambda x: (ids.product_stream(x.provider, x.product_id),)
    ),
    p.ReportPrice: Rule(report_price, lambda x: (ids.price_stream(x.provider, x.price_id),)),
    p.SetPrice: Rule(set_price, lambda x: (ids.price_stream(x.provider, x.price_id),)),
    p.LinkCustomer: Rule(link_customer, _link),
    p.CloseLink: Rule(close_link, _link),
    c.ExpireDue: Rule(expire_due, lambda x: (x.account_id,)),
}

_RANGES_OF: dict[type[c.Command], list[tuple[str, int]]] = {
    kind: [(field, least) for field, least in _RANGES if hasattr(kind, field)] for kind in RULES
}
