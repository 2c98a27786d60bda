"""A burst of what providers deliver about many customers: signed, shuffled, a part of it twice.

Each customer lives through stories of made bodies, with ids of its own in them. What each story
comes to is said beside it, and was not computed by the service.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from body_story import Body, altered, told
from provider_bodies import POLAR_COLONY, POLAR_NEST, POLAR_PACK

#: What is about money, and what of it a provider says in passing.
_SESSION: Final = "stripe.checkout.session.completed.payment_paid"
_INTENT: Final = "stripe.payment_intent.succeeded.pack"
_CHARGE: Final = "stripe.charge.refunded.partial"
_REFUND: Final = "stripe.refund.created.partial"
_DEBIT: Final = "stripe.checkout.session.async_payment_succeeded.bank_debit"
_DISPUTE: Final = "stripe.charge.dispute.created.fraudulent"
_ORDER: Final = "polar.order.paid.purchase"

#: The first day of 2100: what would have expired by the day of the test does not matter here.
_FAR_END: Final = '"end": 4102444800'


@dataclass(frozen=True)
class Tale:
    """What a provider tells of one purchase, and what is left of it at the end."""

    bodies: Sequence[Body]
    available: int
    status: str


def _as_type(body: Body, kind: str) -> Body:
    return altered(body.name, {"type": kind})


def _lasting(body: Body) -> Body:
    text, found = re.subn(r'"end": [0-9]+', _FAR_END, body.text)
    assert found == 1
    return Body(body.name, text)


_PACK: Final = (told(_INTENT), told(_SESSION))
_DEBITED: Final = (told(_DEBIT), told(_DISPUTE))
_ORDERED: Final = (_as_type(told(_ORDER), "order.created"), told(_ORDER))
_OUR_CUSTOMER: Final = told("stripe.customer.updated.metadata_added")
_REST: Final = altered(_REFUND, id="re_Rest", amount=1050)

#: Two packs of 300 for 1400 cents, a debit for 2000, a month of 700 for 1300, an order of 600 for
#: 1500; and what was refunded or disputed of each.
TALES: Final = (
    Tale((*_PACK, told(_CHARGE), told(_REFUND)), 600 - 600 * 350 // 1400, "partially_refunded"),
    Tale((*_PACK, told("stripe.charge.refunded.full"), _REST), 0, "refunded"),
    Tale((*_PACK, told(_REFUND), _REST, altered(_REFUND, {"type": "refund.failed"}, id="re_Rest",
         amount=1050, status="failed")), 600 - 600 * 350 // 1400, "partially_refunded"),
    Tale((*_DEBITED, told("stripe.charge.dispute.closed.won"), _OUR_CUSTOMER), 2000, "paid"),
    Tale((*_DEBITED, told("stripe.charge.dispute.closed.lost")), 0, "charged_back"),
    # Only the customer's own record says whose this is.
    Tale((_OUR_CUSTOMER, told(_DISPUTE),
          altered(_DEBIT, metadata={"price_id": "price_7LzVhUEOi64ioZzRvaVOjchW"},
                  client_reference_id=None)), 0, "disputed"),
    Tale((told("stripe.customer.subscription.created.active"),
          _lasting(told("stripe.invoice.paid.subscription_create")),
          told("stripe.invoice_payment.paid.subscription_create"),
          # Only what is above names its invoice.
          altered(_CHARGE, id="ch_Month", payment_intent="pi_2aRWtXU8F76bruD1uEovgT3v",
                  amount=1300, amount_refunded=650)), 700 - 700 * 650 // 1300,
         "partially_refunded"),
    Tale((*_ORDERED, told("polar.refund.created.partial_succeeded"),
          told("polar.order.refunded.partial")), 600 - 600 * 500 // 1500, "partially_refunded"),
    Tale((*_ORDERED, told("polar.order.refunded.partial"), told("polar.order.refunded.full"),
          told("polar.customer.created.with_external_id")), 0, "refunded"),
    Tale((told("polar.benefit_grant.created.meter_credit"), told(_ORDER)), 600, "paid"),
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Sent:
    """One delivery as it goes out, unsigned."""

    provider: str
    provider_delivery_id: str
    content: bytes = field(repr=False)


@dataclass
class Burst:
    """What is sent, in this order, and what it comes to: for each customer, what it can spend and
    how its payments stand."""

    sent: list[Sent] = field(default_factory=list)
    available: Counter[str] = field(default_factory=Counter)
    payments: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def different(self) -> int:
        """How many deliveries there are, repetitions aside."""
        return len({(sent.provider, sent.provider_delivery_id) for sent in self.sent})


def burst(deliveries: int, customers: int, chance: Random) -> Burst:
    """So many deliveries about so many customers, every third of them a repetition, shuffled."""
    made = Burst()
    templates = [[_Template(body) for body in tale.bodies] for tale in TALES]
    once = deliveries - deliveries // 3
    number = 0
    while len(made.sent) < once or number < customers:
        customer = f"customer-{number % customers}"
        kind = (number + number // customers) % len(TALES)
        salt = f"{number}"
        made.sent += [t.told(customer, salt, place) for place, t in enumerate(templates[kind])]
        made.available[customer] += TALES[kind].available
        made.payments[customer][TALES[kind].status] += 1
        number += 1
    made.sent += chance.sample(made.sent, deliveries - len(made.sent))
    chance.shuffle(made.sent)
    return made


def purchase(customer: str) -> Sent:
    """One delivery that tells all of a purchase by a customer that has none yet: 600 credits."""
    return _Template(told(_SESSION)).told(customer, customer, 0)


#: What is the customer's own: ids of Stripe's objects, of Polar's, and of the customer itself.
_OWN: Final = re.compile(
    r'(?<=")((?:evt|cus|cs_test|pi|ch|re|du|sub|si|in|il|txn|req)_[A-Za-z0-9]+'
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|org_tern|org_plover)(?=\")"
)

#: What all customers share.
_SHARED: Final = frozenset({POLAR_PACK, POLAR_NEST, POLAR_COLONY})


class _Template:
    """A body with places for ids."""

    def __init__(self, body: Body) -> None:
        self._provider = body.name.partition(".")[0]
        # Every second part is an id.
        self._parts = _OWN.split(body.text)

    def told(self, customer: str, salt: str, place: int) -> Sent:
        """The body with ids that follow from the salt; the place is of it in its story."""
        parts = self._parts.copy()
        event_id = "evt_" + _digest(salt, str(place))[:24]
        for index in range(1, len(parts), 2):
            parts[index] = _own(parts[index], customer, salt, event_id)
        webhook_id = event_id if self._provider == "stripe" else f"msg_{event_id}"
        return Sent(self._provider, webhook_id, "".join(parts).encode())


def _own(found: str, customer: str, salt: str, event_id: str) -> str:
    if found in _SHARED:
        return found
    if found.startswith("org_"):
        return customer
    if found.startswith("evt_"):
        return event_id
    digest = _digest(salt, found)
    if "-" in found:
        groups = (digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:])
        return "-".join(groups)
    return f"{found.rpartition('_')[0]}_{digest[:24]}"


def _digest(salt: str, name: str) -> str:
    return hashlib.md5(f"{salt}:{name}".encode(), usedforsecurity=False).hexdigest()
