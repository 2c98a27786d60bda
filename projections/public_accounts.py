"""How the events of accounts and their trails are told to others: a row for each class."""

from __future__ import annotations

from typing import Final, get_args

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.policies import DEFAULT_PRIORITIES
from creditledger.projections.public_form import (
    Fact,
    PublicType,
    Shape,
    amount,
    brought_about,
    count,
    many,
    metadata,
    minor_units,
    moment,
    one,
    text,
    trail_key,
    word,
)

_SOURCES: Final = (*DEFAULT_PRIORITIES, "transfer", "refund")

MONEY: Final = Shape(
    "Money",
    "Money of one currency",
    (
        minor_units("amount", "How much"),
        text("currency", "ISO 4217, three capitals"),
    ),
)
BALANCE: Final = Shape(
    "Balance",
    "An account's figures at one moment",
    (
        amount("available", "Can be spent now"),
        amount("held", "Pinned by open holds"),
        amount("scheduled", "In lots that have not started"),
        amount("debt", "Revoked after it was spent; later grants repay it"),
        amount("overage", "Spent beyond the lots in the current period"),
    ),
)
LOT_AMOUNT: Final = Shape(
    "LotAmount",
    "So much of one lot",
    (
        text("grant_id", "The grant that the lot is of"),
        amount("amount", "How much of it"),
    ),
)
LOT_TERMS: Final = Shape(
    "LotTerms",
    "What a lot is, whatever is left of it",
    (
        text("grant_id", "The grant that the lot is of"),
        word("source", _SOURCES, "Where it came from"),
        count("priority", "Small is spent first"),
        amount("granted", "What was granted"),
        moment("effective_at", "From when it can be spent"),
        moment("expires_at", "Until when, this moment not included; null is never", null=True),
        one("cost_basis", MONEY, "What was paid for it", null=True),
        text("payment_id", "The payment that paid for it", null=True),
        amount("written_off", "Revoked and neither taken nor owed"),
    ),
)

_GRANT: Final = text("grant_id", "The grant that it is about")
_LOTS: Final = many("lots", LOT_AMOUNT, "The lots that were touched, in order")
_REOPENED: Final = many("reopened", LOT_TERMS, "Closed lots that are open again")
_FEATURE: Final = text("feature", "What the credits are spent on", null=True)
_REASON: Final = text("reason", "Why, in the caller's words", null=True)


def _account(event_class: type[e.AccountEvent], name: str, *facts: Fact) -> PublicType:
    whose = (
        text("customer_id", "The customer, by the caller's own id"),
        text("asset", "The kind of credits"),
    )
    after = one("after", BALANCE, "The account's balance right after it")
    return PublicType(
        event_class=event_class,
        name=name,
        subject="accounts/{asset}/{customer_id}",
        facts=(*whose, *facts, after, metadata()),
    )


def _trail(event_class: type[e.Event], name: str, *facts: Fact) -> PublicType:
    """Trails are bookkeeping: what they say follows from the events of the account."""
    return PublicType(
        event_class=event_class,
        name=name,
        subject="trails/{trail}",
        facts=(trail_key(), *facts, metadata()),
    )


ACCOUNT_TYPES: Final = (
    _account(
        e.Granted,
        "credits.granted",
        brought_about("grant_id", ids.GRANT, "The grant"),
        amount("amount", "How much was granted"),
        word("source", _SOURCES, "Where it came from"),
        count("priority", "Small is spent first"),
        moment("effective_at", "From when it can be spent"),
        moment("expires_at", "Until when, this moment not included; null is never", null=True),
        one("cost_basis", MONEY, "What was paid for it", null=True),
        text("payment_id", "The payment that paid for it", null=True),
        text("origin_grant_id", "The grant that this one carries on", null=True),
        text("transfer_id", "The deduction at the sender, where it is a transfer", null=True),
        text("reference", "The caller's own reference", null=True),
        many("debt_repaid", LOT_AMOUNT, "Debts that it repaid at once, by revoked grant"),
    ),
    _account(
        e.Held,
        "credits.held",
        brought_about("hold_id", ids.HOLD, "The hold"),
        amount("amount", "How much is pinned"),
        moment("expires_at", "When it lapses"),
        _LOTS,
        _FEATURE,
    ),
    _account(
        e.Deducted,
        "credits.deducted",
        brought_about("deduction_id", ids.DEDUCTION, "The deduction"),
        amount("amount", "How much was spent, overage included"),
        _LOTS,
        amount("overage", "The part that was spent beyond the lots"),
        _FEATURE,
        text("hold_id", "The hold that it captures", null=True),
        many("captured", LOT_AMOUNT, "What came from the pins of the hold"),
        text("transfer_to", "The receiving customer, where it is a transfer", null=True),
    ),
    _account(
        e.Released,
        "credits.released",
        text("hold_id", "The hold, which is closed now"),
        word("reason", get_args(e.ReleaseReason), "Why it ended"),
        amount("amount", "What was given back"),
        _LOTS,
        moment("lapsed_at", "When the hold's time ran out, where it did", null=True),
        text("note", "Why, in the caller's words", null=True),
    ),
    _account(
        e.Refunded,
        "credits.refunded",
        brought_about("refund_id", ids.REFUND, "The refund"),
        text("deduction_id", "The deduction that was given back, in part or whole"),
        amount("amount", "How much was given back"),
        amount("overage", "The part that reduced overage"),
        amount("overage_this_period", "The part of `overage` that was used in this period"),
        _LOTS,
        _REOPENED,
        word("expired_lots", get_args(e.ExpiredLotsPolicy), "What became of expired lots' part"),
        _REASON,
    ),
    _account(
        e.Expired,
        "credits.expired",
        _LOTS,
        moment("expired_at", "When the lots' time was over"),
    ),
    _account(
        e.Revoked,
        "credits.revoked",
        brought_about("revocation_id", ids.REVOCATION, "The revocation"),
        _GRANT,
        amount("amount", "How much was taken back"),
        _LOTS,
        amount("debt", "The part that was spent before, and is owed now"),
        amount("written_off", "The part that was spent before, and is lost"),
        text("payment_id", "The payment that it is about", null=True),
        _REASON,
    ),
    _account(
        e.Recovered,
        "credits.recovered",
        _GRANT,
        amount("amount", "How much came back to the revoked lot and was taken"),
        amount("debt", "The debt that is gone by it"),
        amount("written_off", "The write-off that is undone by it"),
    ),
    _account(
        e.Reinstated,
        "credits.reinstated",
        brought_about("reinstatement_id", ids.REINSTATEMENT, "The reinstatement"),
        _GRANT,
        amount("amount", "How much of the revocation was undone"),
        _LOTS,
        many("debt_cancelled", LOT_AMOUNT, "Debts that were cancelled, by revoked grant"),
        amount("written_off", "The part that had been written off"),
        _REOPENED,
        _REASON,
    ),
    _account(
        e.ExpiryChanged,
        "grant.expiry_changed",
        _GRANT,
        moment("expires_at", "When its lot ends now; null is never", null=True),
        moment("previous", "When it would have ended; null is never", null=True),
    ),
    _account(
        e.OverageLimitSet,
        "account.overage_limit_set",
        amount("limit", "May be spent beyond the lots; null is without limit", null=True),
        word("period", get_args(e.OveragePeriod), "In which period"),
    ),
    _trail(
        e.HoldEnded,
        "hold.ended",
        word("how", get_args(e.HoldOutcome), "How the hold ended; of captures, none tells"),
    ),
    _trail(
        e.DeductionRefunded,
        "deduction.refunded",
        amount("refunded", "How much of the deduction was given back so far"),
    ),
    _trail(
        e.GrantRevised,
        "grant.revised",
        amount("revoked", "How much of the grant is revoked, less what was reinstated"),
        amount("written_off", "The part of it that was written off"),
        moment("expires_at", "When its lot ends now; null is never", null=True),
    ),
)
