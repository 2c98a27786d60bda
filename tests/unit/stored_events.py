"""One event of each class, every field filled: what the golden files of stored forms hold."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.billing import BilledLine, PeriodBilled
from creditledger.domain.events import Balance, Context, Event, LotAmount, LotTerms
from creditledger.domain.link import CustomerLinked, LinkClosed
from creditledger.domain.payment_events import (
    DisputeReported,
    PaidLine,
    PaymentAssigned,
    PaymentGrant,
    PaymentGranted,
    PaymentReallotted,
    PaymentRecorded,
    PaymentRedated,
    PaymentTied,
    RefundReported,
    RefundTotalReported,
    RemovalSet,
)
from creditledger.domain.price import PriceReported, PriceSet, PriceTerms
from creditledger.domain.product import ProductReported
from creditledger.domain.provider_commands import Period, RefundTotal, SubscriptionState
from creditledger.domain.subscription import SubscriptionReported

CUSTOMER = "ws_kestrel"
ACCOUNT = ids.account_id(CUSTOMER, "credits")
KEY = ids.stream_key(ACCOUNT)
GRANT = ids.event_id(ids.GRANT, KEY, 1)
OTHER_GRANT = ids.event_id(ids.GRANT, KEY, 2)
HOLD = ids.event_id(ids.HOLD, KEY, 3)
DEDUCTION = ids.event_id(ids.DEDUCTION, KEY, 4)
PAYMENT = ids.payment_stream("stripe", "pi_TwoPacks")
PAYMENT_ID = ids.stream_id(ids.PAYMENT, PAYMENT)

RECORDED_AT = datetime(2026, 9, 1, 12, 30, 15, 123456, UTC)
HAPPENED_AT = datetime(2026, 9, 1, 12, 30, tzinfo=UTC)
STARTS_AT = datetime(2026, 9, 1, tzinfo=UTC)
ENDS_AT = datetime(2026, 10, 1, tzinfo=UTC)
PERIOD = Period(STARTS_AT, ENDS_AT)

CONTEXT = Context(
    actor="client:3f1c",
    causation_id="rcp_0000000000000000000000000g",
    correlation_id="order-77",
    happened_at=HAPPENED_AT,
    metadata={"job": "é😀", "tries": 2, "share": 0.5, "retried": True, "note": None},
)
AFTER = Balance(available=700, held=200, scheduled=50, debt=30, overage=4)
LEGS = (LotAmount(GRANT, Credits(60)), LotAmount(OTHER_GRANT, Credits(40)))
COST = Money(900, "USD")
REOPENED = (
    LotTerms(
        grant_id=GRANT,
        source="top_up",
        priority=30,
        granted=Credits(500),
        effective_at=STARTS_AT,
        expires_at=ENDS_AT,
        cost_basis=COST,
        payment_id=PAYMENT_ID,
        written_off=Credits(3),
    ),
)


def _common(stream: UUID, version: int) -> dict[str, object]:
    return {
        "originator_id": stream,
        "originator_version": version,
        "recorded_at": RECORDED_AT,
        "context": CONTEXT,
    }


def _account(version: int) -> dict[str, object]:
    return {
        **_common(ACCOUNT, version),
        "customer_id": CUSTOMER,
        "asset": "credits",
        "after": AFTER,
    }


def _trail(subject: str) -> dict[str, object]:
    return _common(ids.trail_id(subject), 1)


def _payment(version: int) -> dict[str, object]:
    return {
        **_common(PAYMENT, version),
        "provider": "stripe",
        "provider_id": "pi_TwoPacks",
        "customer_id": CUSTOMER,
    }


def _link(version: int) -> dict[str, object]:
    return {
        **_common(ids.link_stream("stripe", "cus_Kestrel1"), version),
        "provider": "stripe",
        "provider_customer_id": "cus_Kestrel1",
        "customer_id": CUSTOMER,
    }


def _build(event_class: type[Event], common: dict[str, object], **fields: object) -> Event:
    return event_class(**common, **fields)  # type: ignore[arg-type]


EXAMPLES: tuple[Event, ...] = (
    _build(
        e.Granted,
        _account(1),
        amount=500,
        source="top_up",
        priority=30,
        effective_at=STARTS_AT,
        expires_at=ENDS_AT,
        cost_basis=COST,
        payment_id=PAYMENT_ID,
        origin_grant_id=OTHER_GRANT,
        transfer_id=DEDUCTION,
        reference="invoice 12",
        debt_repaid=LEGS,
    ),
    _build(e.Held, _account(3), amount=100, expires_at=ENDS_AT, lots=LEGS, feature="render"),
    _build(
        e.Deducted,
        _account(4),
        amount=104,
        lots=LEGS,
        overage=4,
        feature="render",
        hold_id=HOLD,
        captured=LEGS,
        transfer_to="ws_heron",
    ),
    _build(
        e.Released,
        _account(5),
        hold_id=HOLD,
        reason="lapsed",
        amount=100,
        lots=LEGS,
        lapsed_at=ENDS_AT,
        note="the worker died",
    ),
    _build(
        e.Refunded,
        _account(6),
        deduction_id=DEDUCTION,
        amount=104,
        overage=4,
        overage_this_period=3,
        lots=LEGS,
        reopened=REOPENED,
        expired_lots="expire",
        reason="a bad render",
    ),
    _build(e.Expired, _account(7), lots=LEGS, expired_at=ENDS_AT),
    _build(
        e.Revoked,
        _account(8),
        grant_id=GRANT,
        amount=150,
        lots=LEGS,
        debt=30,
        written_off=20,
        payment_id=PAYMENT_ID,
        reason="charged back",
    ),
    _build(e.Recovered, _account(9), grant_id=GRANT, amount=12, debt=10, written_off=2),
    _build(
        e.Reinstated,
        _account(10),
        grant_id=GRANT,
        amount=150,
        lots=LEGS,
        debt_cancelled=LEGS,
        written_off=20,
        reopened=REOPENED,
        reason="the dispute was won",
    ),
    _build(e.ExpiryChanged, _account(11), grant_id=GRANT, expires_at=ENDS_AT, previous=STARTS_AT),
    _build(e.OverageLimitSet, _account(12), limit=1000, period="day"),
    _build(e.HoldEnded, _trail(HOLD), how="captured"),
    _build(e.DeductionRefunded, _trail(DEDUCTION), refunded=104),
    _build(e.GrantRevised, _trail(GRANT), revoked=150, written_off=20, expires_at=ENDS_AT),
    _build(
        PaymentRecorded,
        _payment(1),
        provider_customer_id="cus_Kestrel1",
        paid=Money(1800, "USD"),
        paid_at=HAPPENED_AT,
        refund_total=RefundTotal(amount=0, as_of=HAPPENED_AT, told_at=RECORDED_AT),
        subscription_id="sub_Kestrel",
    ),
    _build(PaymentAssigned, _payment(2)),
    _build(
        PaymentGranted,
        _payment(3),
        lines=(PaidLine("price_Pack500", 2, "credits", 1000, PERIOD, True),),
        grants=(PaymentGrant(GRANT, "credits", Credits(1000), ENDS_AT, Credits(100)),),
    ),
    _build(
        RefundReported,
        _payment(4),
        refund_id="re_1",
        amount=COST,
        status="succeeded",
        counted=True,
        refunded=900,
        source="pi_OfInvoice",
    ),
    _build(
        RefundTotalReported,
        _payment(5),
        total=RefundTotal(amount=900, as_of=HAPPENED_AT, told_at=RECORDED_AT),
        refunded=900,
        source="pi_OfInvoice",
    ),
    _build(RemovalSet, _payment(6), removed=LEGS),
    _build(
        DisputeReported,
        _payment(7),
        dispute_id="dp_1",
        amount=COST,
        standing="open",
        status="needs_response",
        as_of=HAPPENED_AT,
        disputed=900,
        source="pi_OfInvoice",
    ),
    _build(
        PaymentReallotted,
        _payment(8),
        grants=(PaymentGrant(GRANT, "credits", Credits(1000), ENDS_AT, Credits(400)),),
    ),
    _build(PaymentRedated, _payment(9), paid_at=HAPPENED_AT),
    _build(
        PaymentTied,
        {
            **_common(ids.payment_stream("stripe", "pi_OfInvoice"), 1),
            "provider": "stripe",
            "provider_id": "pi_OfInvoice",
            "customer_id": None,
        },
        pays="in_1",
    ),
    _build(
        PeriodBilled,
        _common(ids.period_stream("stripe", "sub_Kestrel", ENDS_AT), 1),
        provider="stripe",
        subscription_id="sub_Kestrel",
        period_end=ENDS_AT,
        provider_id="in_1",
        paid_at=HAPPENED_AT,
        start=STARTS_AT,
        lines=(BilledLine("price_Pro", "credits", Credits(5000), True, True),),
    ),
    _build(
        SubscriptionReported,
        _common(ids.subscription_stream("stripe", "sub_Kestrel"), 1),
        provider="stripe",
        subscription_id="sub_Kestrel",
        customer_id=CUSTOMER,
        provider_customer_id="cus_Kestrel1",
        state=SubscriptionState(
            status="active",
            price_id="price_Pro",
            quantity=3,
            cancel_at_period_end=True,
            current_period=PERIOD,
            ended=True,
            started_at=STARTS_AT,
            trial_ends_at=STARTS_AT,
            ends_at=ENDS_AT,
            ended_at=ENDS_AT,
            pending_product_id="prod_Starter",
        ),
        as_of=HAPPENED_AT,
        stands=True,
    ),
    _build(
        PriceSet,
        {
            **_common(ids.price_stream("stripe", "price_Pack500"), 1),
            "provider": "stripe",
            "price_id": "price_Pack500",
        },
        terms=PriceTerms(
            credits=Credits(500),
            asset="credits",
            kind="one_time",
            name="Pack of 500",
            expires_after_days=365,
            plan_family="packs",
            version="2",
            origin="entered",
            internal_id="pack-500",
        ),
    ),
    _build(
        PriceReported,
        {
            **_common(ids.price_stream("stripe", "price_Pack500"), 2),
            "provider": "stripe",
            "price_id": "price_Pack500",
        },
        product_id="prod_Packs",
        active=False,
        learned=PriceTerms(
            credits=Credits(500),
            asset="credits",
            kind="one_time",
            name="Pack of 500",
            expires_after_days=None,
            plan_family="packs",
            version="2",
            origin="learned",
            internal_id="pack-500",
        ),
        as_of=HAPPENED_AT,
    ),
    _build(
        ProductReported,
        _common(ids.product_stream("stripe", "prod_Packs"), 1),
        provider="stripe",
        product_id="prod_Packs",
        name="Packs",
        active=False,
        plan_family="packs",
        version="2",
        as_of=HAPPENED_AT,
    ),
    _build(CustomerLinked, _link(1), origin="purchase", as_of=HAPPENED_AT),
    _build(LinkClosed, _link(2), closed_at=HAPPENED_AT),
)
