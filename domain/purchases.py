"""Purchases: money that came at a provider becomes grants, once (domain/README.md, 11).

The same purchase is told by several events, so each command is looked at against what the payment
already says. What cannot be granted yet is recorded as a payment that waits, so that nobody has to
wonder where the money is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from creditledger.domain import waiting
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import NO_CREDITS, Credits, Money
from creditledger.domain.books import Books
from creditledger.domain.due import settle
from creditledger.domain.errors import Parked, PaymentAlreadyGranted, PaymentNotFound
from creditledger.domain.grants import ensure_room, grant, grant_id_of
from creditledger.domain.link import find_link, say
from creditledger.domain.payment import (
    PaidLine,
    Payment,
    PaymentAssigned,
    PaymentGrant,
    PaymentGranted,
    PaymentRecorded,
    describe,
    ensure_same_currency,
    find_payment,
)
from creditledger.domain.price import (
    ONE_TIME_EXPIRES_AFTER_DAYS,
    Price,
    PriceTerms,
    find_price,
    record_terms,
)
from creditledger.domain.provider_commands import (
    AssignPurchase,
    LearnedPrice,
    PurchaseLine,
    RecordPurchase,
)
from creditledger.domain.removals import remove_refunded, take_in_total

#: What credits bought once are granted as.
_SOURCE = "top_up"


@dataclass(frozen=True, slots=True)
class _Worth:
    """A line with what it is worth; `terms` is None where it has no price id."""

    line: PurchaseLine
    terms: PriceTerms | None
    price: Price | None

    @property
    def credits(self) -> Credits:
        """What all its units are worth together."""
        if self.terms is None:
            return NO_CREDITS
        return Credits(self.terms.credits * self.line.quantity)


@dataclass(frozen=True, slots=True)
class _Accounts:
    """Who gets what was bought, on which accounts, by asset."""

    owner: str
    by_asset: dict[str, CreditAccount]


def record_purchase(command: RecordPurchase, books: Books) -> dict[str, Any]:
    """Grant what was bought, or say what that waits for: `reason` and `waits_for`."""
    payment = find_payment(command, books)
    if payment.granted:
        ensure_same_currency(payment, command.paid.currency)
        if command.refund_total is not None:
            take_in_total(payment, command.refund_total, books)
        return describe(payment)
    owner = payment.customer_id or command.customer_id or _linked_owner(command, books)
    try:
        worths = _worths(command, books)
        if owner is None:
            raise _unknown_customer(command)
    except Parked as parked:
        _record_money(payment, command, owner, books)
        return {**describe(payment), **parked.values}
    accounts = _accounts_with_room(worths, owner, books)
    _record_money(payment, command, owner, books)
    if command.refund_total is not None:
        take_in_total(payment, command.refund_total, books)
    _learn(worths, command, books)
    _grant_all(payment, command, worths, accounts, books)
    _link(command, books)
    remove_refunded(payment, books)
    return describe(payment)


def assign_purchase(command: AssignPurchase, books: Books) -> dict[str, Any]:
    """Say whose a purchase is that waits for an owner; refuses one that was granted."""
    payment = find_payment(command, books)
    if payment.version == 0:
        raise PaymentNotFound(payment_id=payment.payment_id)
    if payment.granted and payment.customer_id != command.customer_id:
        raise PaymentAlreadyGranted(payment_id=payment.payment_id, customer_id=payment.customer_id)
    if payment.customer_id != command.customer_id:
        books.record(payment, PaymentAssigned, customer_id=command.customer_id)
    return describe(payment)


def _linked_owner(command: RecordPurchase, books: Books) -> str | None:
    if command.provider_customer_id is None:
        return None
    return find_link(command.provider, command.provider_customer_id, books).customer_id


def _unknown_customer(command: RecordPurchase) -> Parked:
    if command.provider_customer_id is None:
        # A guest's: only a person can say whose it is.
        waits_for = waiting.payment(command.provider, command.provider_id)
    else:
        waits_for = waiting.link(command.provider, command.provider_customer_id)
    return Parked(reason="unknown_customer", waits_for=waits_for)


def _worths(command: RecordPurchase, books: Books) -> list[_Worth]:
    """All lines with what they are worth. Raises Parked where that is not known of every one."""
    if command.lines is None:
        raise Parked(
            reason="unknown_price",
            waits_for=waiting.payment(command.provider, command.provider_id),
            detail="what was bought is named neither in the metadata nor by the provider's API",
        )
    return [_worth(line, command, books) for line in command.lines]


def _worth(line: PurchaseLine, command: RecordPurchase, books: Books) -> _Worth:
    if line.price_id is None:
        return _Worth(line, None, None)
    price = find_price(command.provider, line.price_id, books)
    terms = price.terms
    if line.learned is not None and (terms is None or terms.origin == "learned"):
        terms = _learned_terms(line.learned)
    if terms is None:
        raise Parked(
            reason="unknown_price", waits_for=waiting.price(command.provider, line.price_id)
        )
    return _Worth(line, terms, price)


def _learned_terms(learned: LearnedPrice) -> PriceTerms:
    return PriceTerms(
        credits=learned.credits,
        asset="credits",
        kind=learned.kind,
        name=learned.name,
        expires_after_days=None,
        plan_family=learned.plan_family,
        version=learned.version,
        origin="learned",
    )


def _accounts_with_room(worths: Sequence[_Worth], owner: str, books: Books) -> _Accounts:
    """The owner's accounts that get something. Raises BalanceLimitExceeded."""
    amounts: dict[str, int] = {}
    for worth in worths:
        if worth.terms is not None and worth.credits:
            asset = worth.terms.asset
            amounts[asset] = amounts.get(asset, 0) + worth.credits
    accounts = {asset: books.account(owner, asset) for asset in amounts}
    for asset, account in accounts.items():
        settle(account, books)
        ensure_room(account, amounts[asset], repays=True)
    return _Accounts(owner, accounts)


def _record_money(
    payment: Payment, command: RecordPurchase, owner: str | None, books: Books
) -> None:
    if payment.version == 0:
        books.record(
            payment,
            PaymentRecorded,
            customer_id=owner,
            provider_customer_id=command.provider_customer_id,
            paid=command.paid,
            paid_at=command.paid_at,
            refund_total=command.refund_total,
        )


def _learn(worths: Sequence[_Worth], command: RecordPurchase, books: Books) -> None:
    """Keep what the provider's metadata says of a price that nobody has entered."""
    for worth in worths:
        price, terms = worth.price, worth.terms
        if price is not None and terms is not None and price.terms is None:
            assert worth.line.price_id is not None
            record_terms(price, command.provider, worth.line.price_id, terms, books)


def _grant_all(
    payment: Payment,
    command: RecordPurchase,
    worths: Sequence[_Worth],
    accounts: _Accounts,
    books: Books,
) -> None:
    # A provider's clock may be ahead of ours; a lot cannot start before it was there.
    paid_at = min(command.paid_at, books.now(payment))
    grants = []
    for worth, cost in zip(worths, _costs(command.paid, worths), strict=True):
        if worth.terms is None or not worth.credits:
            continue
        account = accounts.by_asset[worth.terms.asset]
        granted = grant(
            account,
            books,
            amount=worth.credits,
            source=_SOURCE,
            priority=books.policies.priorities[_SOURCE],
            effective_at=paid_at,
            expires_at=_expiry(worth.terms, paid_at),
            cost_basis=cost,
            payment_id=payment.payment_id,
            reference=command.provider_id,
        )
        grants.append(PaymentGrant(grant_id_of(account, granted), worth.terms.asset, worth.credits))
    lines = tuple(
        PaidLine(
            worth.line.price_id,
            worth.line.quantity,
            worth.terms.asset if worth.terms else None,
            worth.credits,
        )
        for worth in worths
    )
    books.record(
        payment, PaymentGranted, customer_id=accounts.owner, lines=lines, grants=tuple(grants)
    )


def _expiry(terms: PriceTerms, paid_at: datetime) -> datetime:
    return paid_at + timedelta(days=terms.expires_after_days or ONE_TIME_EXPIRES_AFTER_DAYS)


def _costs(paid: Money, worths: Sequence[_Worth]) -> Iterator[Money]:
    """Each line's part of what was paid, so that the parts add up to all of it.

    By the lines' own amounts where each of them has one; else in equal parts.
    """
    known = [max(0, w.line.amount) for w in worths if w.line.amount is not None]
    weights = known if len(known) == len(worths) and any(known) else [1 for _ in worths]
    whole, before = sum(weights), 0
    for weight in weights:
        upto = before + weight
        part = paid.share(upto, whole).amount - paid.share(before, whole).amount
        before = upto
        yield Money(part, paid.currency)


def _link(command: RecordPurchase, books: Books) -> None:
    """A purchase that names its owner tells whose its customer is, where nobody better did."""
    if command.provider_customer_id is None or command.customer_id is None:
        return
    link = find_link(command.provider, command.provider_customer_id, books)
    if link.customer_id != command.customer_id:
        say(
            link,
            books,
            provider=command.provider,
            provider_customer_id=command.provider_customer_id,
            customer_id=command.customer_id,
            origin="purchase",
            as_of=command.paid_at,
        )
