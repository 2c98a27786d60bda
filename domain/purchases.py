"""Purchases: money that came at a provider becomes grants, once (domain/README.md, 11).

The same purchase is told by several events, so each command is looked at against what the payment
already says. What cannot be granted yet is recorded as a payment that waits, so that nobody has to
wonder where the money is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from creditledger.domain import waiting
from creditledger.domain.account import CreditAccount
from creditledger.domain.awards import (
    Award,
    Worth,
    costs,
    grant_award,
    redate,
    single_award,
)
from creditledger.domain.books import Books
from creditledger.domain.due import settle
from creditledger.domain.errors import Parked, PaymentAlreadyGranted, PaymentNotFound
from creditledger.domain.grants import ensure_room
from creditledger.domain.link import learn_owner, owner_of
from creditledger.domain.payment import (
    Payment,
    describe,
    ensure_same_currency,
    find_payment,
)
from creditledger.domain.payment_events import (
    PaidLine,
    PaymentAssigned,
    PaymentGrant,
    PaymentGranted,
    PaymentRecorded,
)
from creditledger.domain.periods import PeriodShare, share_period, shares_of
from creditledger.domain.price import find_price, learned_terms, record_terms
from creditledger.domain.provider_commands import AssignPurchase, PurchaseLine, RecordPurchase
from creditledger.domain.removals import remove_refunded, take_in_total
from creditledger.domain.values import value


@value()
class _Accounts:
    """Who gets what was bought, on which accounts, by asset."""

    owner: str
    by_asset: dict[str, CreditAccount]


def record_purchase(command: RecordPurchase, books: Books) -> dict[str, Any]:
    """Grant what was bought, or say what that waits for: `reason` and `waits_for`."""
    payment = find_payment(command, books)
    if payment.granted:
        ensure_same_currency(payment, command.paid.currency)
        redate(payment, command.paid_at, books)
        if command.refund_total is not None:
            take_in_total(payment, command.refund_total, None, books)
        return describe(payment)
    owner = payment.customer_id or owner_of(command, books)
    try:
        worths = _worths(command, books)
        if owner is None:
            raise _unknown_customer(command)
    except Parked as parked:
        _record_money(payment, command, owner, books)
        return {**describe(payment), **parked.values}
    if payment.paid_at is not None:
        command = replace(command, paid_at=min(payment.paid_at, command.paid_at))
    now = books.now(payment)
    shares = shares_of(command, worths, now, books)
    awards = [
        *(single_award(worth, command, now) for worth in worths if not worth.periodic),
        *(award for share in shares for award in share.awards),
    ]
    accounts = _accounts_with_room(awards, shares, owner, books)
    _record_money(payment, command, owner, books)
    if command.refund_total is not None:
        take_in_total(payment, command.refund_total, None, books)
    _learn(worths, command, books)
    for share in shares:
        share_period(share, books)
    _grant_all(payment, worths, awards, accounts, books)
    learn_owner(command, command.paid_at, books)
    remove_refunded(payment, books)
    return describe(payment)


def assign_purchase(command: AssignPurchase, books: Books) -> dict[str, Any]:
    """Say whose a purchase is that waits for an owner; refuses one that was granted."""
    payment = find_payment(command, books)
    if payment.paid is None:
        raise PaymentNotFound(payment_id=payment.payment_id)
    if payment.granted and payment.customer_id != command.customer_id:
        raise PaymentAlreadyGranted(payment_id=payment.payment_id, customer_id=payment.customer_id)
    if payment.customer_id != command.customer_id:
        books.record(payment, PaymentAssigned, customer_id=command.customer_id)
    return describe(payment)


def _unknown_customer(command: RecordPurchase) -> Parked:
    if command.provider_customer_id is None:
        # A guest's: only a person can say whose it is.
        waits_for = waiting.payment(command.provider, command.provider_id)
    else:
        waits_for = waiting.link(command.provider, command.provider_customer_id)
    return Parked(reason="unknown_customer", waits_for=waits_for)


def _worths(command: RecordPurchase, books: Books) -> list[Worth]:
    """All lines with what they are worth. Raises Parked where that is not known of every one."""
    if command.lines is None:
        raise Parked(
            reason="unknown_price",
            waits_for=waiting.payment(command.provider, command.provider_id),
            detail="what was bought is named neither in the metadata nor by the provider's API",
        )
    return [_worth(line, command, books) for line in command.lines]


def _worth(line: PurchaseLine, command: RecordPurchase, books: Books) -> Worth:
    if line.price_id is None:
        return Worth(line, None, None)
    if line.proration and line.period is None:
        raise Parked(
            reason="unknown_value",
            waits_for=None,
            detail=f"the proration of {line.price_id} names no period",
        )
    price = find_price(command.provider, line.price_id, books)
    terms = price.terms
    if line.learned is not None and (terms is None or terms.origin == "learned"):
        terms = learned_terms(line.learned)
    if terms is None:
        raise Parked(
            reason="unknown_price", waits_for=waiting.price(command.provider, line.price_id)
        )
    return Worth(line, terms, price)


def _accounts_with_room(
    awards: Sequence[Award], shares: Sequence[PeriodShare], owner: str, books: Books
) -> _Accounts:
    """The owner's accounts that get something. Raises BalanceLimitExceeded."""
    amounts: dict[tuple[str, str], int] = {}
    for award in awards:
        if award.credits:
            whose = (owner, award.asset)
            amounts[whose] = amounts.get(whose, 0) + award.credits
    for share in shares:
        for change in share.changes:
            whose = (change.payment.customer_id or owner, change.asset)
            amounts[whose] = amounts.get(whose, 0) + max(0, change.by)
    for (customer_id, asset), amount in amounts.items():
        account = books.account(customer_id, asset)
        settle(account, books)
        if amount:
            ensure_room(account, amount, repays=True)
    assets = {award.asset for award in awards if award.credits}
    return _Accounts(owner, {asset: books.account(owner, asset) for asset in sorted(assets)})


def _record_money(
    payment: Payment, command: RecordPurchase, owner: str | None, books: Books
) -> None:
    if payment.paid is not None:
        redate(payment, command.paid_at, books)
    else:
        books.record(
            payment,
            PaymentRecorded,
            customer_id=owner,
            provider_customer_id=command.provider_customer_id,
            paid=command.paid,
            paid_at=command.paid_at,
            refund_total=command.refund_total,
            subscription_id=command.subscription_id,
        )


def _learn(worths: Sequence[Worth], command: RecordPurchase, books: Books) -> None:
    """Keep what the provider's metadata says of a price that nobody has entered."""
    for worth in worths:
        price, terms = worth.price, worth.terms
        if price is not None and terms is not None and price.terms is None:
            assert worth.line.price_id is not None
            record_terms(price, command.provider, worth.line.price_id, terms, books)


def _grant_all(
    payment: Payment,
    worths: Sequence[Worth],
    awards: Sequence[Award],
    accounts: _Accounts,
    books: Books,
) -> None:
    assert payment.paid is not None
    grants = []
    for award, cost in zip(awards, costs(payment.paid, awards), strict=True):
        if award.credits:
            account = accounts.by_asset[award.asset]
            grant_id = grant_award(award, account, payment, cost, books)
            grants.append(PaymentGrant(grant_id, award.asset, award.credits, award.period_end))
    books.record(
        payment,
        PaymentGranted,
        customer_id=accounts.owner,
        lines=tuple(_paid_lines(worths)),
        grants=tuple(grants),
    )


def _paid_lines(worths: Sequence[Worth]) -> Iterator[PaidLine]:
    for worth in worths:
        yield PaidLine(
            worth.line.price_id,
            worth.line.quantity,
            worth.terms.asset if worth.terms else None,
            -worth.credits if worth.line.credited else worth.credits,
            worth.line.period,
            worth.line.proration,
        )
