"""How subscriptions, links and the catalogue are told to others: a row for each class."""

from __future__ import annotations

from typing import Final, get_args

from creditledger.domain.events import Event
from creditledger.domain.link import CustomerLinked, LinkClosed, LinkEvent
from creditledger.domain.price import PriceOrigin, PriceReported, PriceSet
from creditledger.domain.product import ProductReported
from creditledger.domain.provider_commands import LinkOrigin, PriceKind
from creditledger.domain.subscription import SubscriptionReported
from creditledger.projections.public_form import (
    Fact,
    PublicType,
    Shape,
    amount,
    count,
    fact,
    flag,
    metadata,
    moment,
    one,
    text,
    word,
)
from creditledger.projections.public_payments import PERIOD, PROVIDER, subscription

PRICE_TERMS: Final = Shape(
    "PriceTerms",
    "What one unit of a price is worth",
    (
        amount("credits", "What one unit is worth"),
        text("asset", "The kind of credits"),
        word("kind", get_args(PriceKind), "How it is bought"),
        text("name", "As people call it", null=True),
        count("expires_after_days", "Days; null takes the default of the kind", null=True),
        text("plan_family", "The plans among which it is one", null=True),
        fact("version", {"type": ["string", "integer"]}, "Of the plan", null=True),
        word("origin", get_args(PriceOrigin), "Entered by a person, or learned"),
        text("internal_id", "The merchant's own name for it", null=True),
    ),
)
SUBSCRIPTION_STATE: Final = Shape(
    "SubscriptionState",
    "What the provider's record of a subscription says at one moment",
    (
        text("status", "The provider's own word"),
        text("price_id", "The provider's price", null=True),
        count("quantity", "How many units of it"),
        flag("cancel_at_period_end", "Whether it ends with the period"),
        one("current_period", PERIOD, "The period that runs", null=True),
        flag("ended", "Whether it will never bill again"),
        moment("started_at", "When it began", null=True),
        moment("trial_ends_at", "When its trial ends", null=True),
        moment("ends_at", "When it will end", null=True),
        moment("ended_at", "When it ended", null=True),
        text("pending_product_id", "What begins with the next period", null=True),
    ),
)

_CUSTOMER: Final = text("customer_id", "Whose it is, by the caller's own id")
_PRICE: Final = text("price_id", "The provider's price")
_AS_OF: Final = moment("as_of", "When that was said")


def _provided(event_class: type[Event], name: str, subject: str, *facts: Fact) -> PublicType:
    return PublicType(
        event_class=event_class, name=name, subject=subject, facts=(PROVIDER, *facts, metadata())
    )


def _link(event_class: type[LinkEvent], name: str, *facts: Fact) -> PublicType:
    who = text("provider_customer_id", "The customer as the provider knows it")
    subject = "links/{provider}/{provider_customer_id}"
    return _provided(event_class, name, subject, who, _CUSTOMER, *facts)


CATALOGUE_TYPES: Final = (
    _provided(
        SubscriptionReported,
        "subscription.reported",
        "subscriptions/{subscription_id}",
        subscription(),
        text("provider_id", "The subscription as the provider knows it", of="subscription_id"),
        _CUSTOMER,
        text("provider_customer_id", "The customer as the provider knows it", null=True),
        one("state", SUBSCRIPTION_STATE, "What its record says"),
        _AS_OF,
        flag("stands", "Whether nothing newer was known"),
    ),
    _provided(
        PriceSet,
        "price.set",
        "prices/{provider}/{price_id}",
        _PRICE,
        one("terms", PRICE_TERMS, "What it is worth from now on"),
    ),
    _provided(
        PriceReported,
        "price.reported",
        "prices/{provider}/{price_id}",
        _PRICE,
        text("product_id", "The provider's product", null=True),
        flag("active", "Whether it is for sale"),
        one("learned", PRICE_TERMS, "What its metadata says that it is worth", null=True),
        _AS_OF,
    ),
    _provided(
        ProductReported,
        "product.reported",
        "products/{provider}/{product_id}",
        text("product_id", "The provider's product"),
        text("name", "As people call it", null=True),
        flag("active", "Whether it is for sale"),
        text("plan_family", "The plans among which it is one", null=True),
        text("version", "Of the plan", null=True),
        _AS_OF,
    ),
    _link(
        CustomerLinked,
        "customer.linked",
        word("origin", get_args(LinkOrigin), "Who said so"),
        _AS_OF,
    ),
    _link(
        LinkClosed,
        "customer.link_closed",
        moment("closed_at", "When the provider deleted its customer"),
    ),
)
