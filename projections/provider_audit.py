"""Proves what must hold of one subscription, period, price, product or link, from its events."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.billing import BillingPeriod, PeriodBilled
from creditledger.domain.events import Event
from creditledger.domain.link import LinkEvent
from creditledger.domain.price import PriceReported, PriceSet
from creditledger.domain.product import ProductReported
from creditledger.domain.subscription import Subscription, SubscriptionReported, newness
from creditledger.projections.findings import Findings, Witness


class ProviderAudit:
    """Takes in the events of one stream about what a provider told, and checks each.

    `period` and `subscription` are their folds, empty where the stream is another thing's.
    """

    def __init__(self, stream: UUID, findings: Findings) -> None:
        self.period = BillingPeriod(stream)
        self.subscription = Subscription(stream)
        self._findings = findings
        self._as_of: datetime | None = None

    def take_in(self, event: Event) -> None:
        """Check one event."""
        key = ids.stream_key(event.originator_id)
        place = ids.event_id(ids.EVENT, key, event.originator_version)
        customer_id = getattr(event, "customer_id", None)
        witness = Witness(self._findings, "log", place, customer_id)
        own = _own_stream(event)
        if own is not None:
            witness.expect("the id of what it is about", own, event.originator_id)
        match event:
            case SubscriptionReported():
                self._take_in_report(event, witness)
            case PeriodBilled():
                again = event.provider_id in self.period.bills
                witness.expect("a payment is billed twice for the period", False, again)
                self.period.apply(event)
            case PriceReported() | ProductReported():
                older = self._as_of is not None and event.as_of < self._as_of
                witness.expect("older than the report that it takes the place of", False, older)
                self._as_of = event.as_of

    def _take_in_report(self, event: SubscriptionReported, witness: Witness) -> None:
        subscription = self.subscription
        again = (event.as_of, event.state) in subscription.reports
        witness.expect("a report is told twice", False, again)
        newest = subscription.newest
        stands = newest is None or newness(event.as_of, event.state) > newness(*newest)
        witness.expect("whether it is the newest report", stands, event.stands)
        subscription.apply(event)


def _own_stream(event: Event) -> UUID | None:
    """The stream that an event belongs to by what it says; None for a trail's."""
    match event:
        case SubscriptionReported():
            return ids.subscription_stream(event.provider, event.subscription_id)
        case PeriodBilled():
            return ids.period_stream(event.provider, event.subscription_id, event.period_end)
        case PriceSet() | PriceReported():
            return ids.price_stream(event.provider, event.price_id)
        case ProductReported():
            return ids.product_stream(event.provider, event.product_id)
        case LinkEvent():
            return ids.link_stream(event.provider, event.provider_customer_id)
        case _:
            return None
