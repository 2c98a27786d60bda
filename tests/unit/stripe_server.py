"""Stripe as it answers for its lists, with the objects of the made bodies.

The story in them: the customer `org_tern` bought two packs of 300 credits by a Checkout Session and
subscribed, which an invoice billed; a part of the packs was refunded, and a bank disputes another
customer's payment.
"""

from __future__ import annotations

from typing import Any

from loopback import Answer, Asked, Loopback
from provider_bodies import event

API_KEY = "sk_test_tern"

Item = dict[str, Any]

SESSION = "stripe.checkout.session.completed.payment_paid"
INTENT = "stripe.payment_intent.succeeded.pack"
INVOICE = "stripe.invoice.paid.subscription_create"
REFUND = "stripe.refund.created.partial"
DISPUTE = "stripe.charge.dispute.created.fraudulent"
SUBSCRIPTION = "stripe.customer.subscription.created.active"
PRICE = "stripe.price.created.one_time_metadata"
CUSTOMER = "stripe.customer.created.linked"


def subject(name: str) -> Item:
    """The object in a body."""
    found: Item = event(name)["data"]["object"]
    return found


class Stripe(Loopback):
    """Lists that a test may change, in pages of `page_size` at most."""

    def __init__(self, *, page_size: int = 100) -> None:
        super().__init__(self._respond)
        self.page_size = page_size
        customer_id = subject(SESSION)["customer"]
        self.customers = {customer_id: {**subject(CUSTOMER), "id": customer_id}}
        session, invoice = subject(SESSION), subject(INVOICE)
        #: PaymentIntents as they stand in a session where they are asked for.
        self.intents = {
            session["payment_intent"]: {
                "id": session["payment_intent"],
                "object": "payment_intent",
                "latest_charge": {"id": "ch_of_session", "created": session["created"] + 60},
            }
        }
        #: Lists that the key may not read.
        self.forbidden: set[str] = set()
        self.lists: dict[str, list[Item]] = {
            "/v1/products": [],
            "/v1/prices": [subject(PRICE)],
            "/v1/invoices": [invoice],
            "/v1/checkout/sessions": [session],
            "/v1/payment_intents": [],
            "/v1/invoice_payments": [_payment_of(invoice)],
            "/v1/refunds": [subject(REFUND)],
            "/v1/disputes": [subject(DISPUTE)],
            "/v1/subscriptions": [subject(SUBSCRIPTION)],
        }

    def _respond(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {API_KEY}":
            return Answer(401, {"error": {"message": "Invalid API Key provided: sk_test_other"}})
        if asked.path in self.forbidden:
            return Answer(403, {"error": {"message": "The key lacks a permission."}})
        if asked.path not in self.lists:
            return Answer(404, {"error": {"message": f"Unrecognized request URL {asked.path}"}})
        return Answer(body=self._page(asked))

    def _page(self, asked: Asked) -> dict[str, Any]:
        query = asked.query
        found = [
            item
            for item in self.lists[asked.path]
            if int(query.get("created[gte]", 0))
            <= item.get("created", 0)
            <= int(query.get("created[lte]", 2**40))
            and query.get("status", "all") in ("all", item.get("status"))
        ]
        found.sort(key=lambda item: int(item.get("created", 0)), reverse=True)
        if after := query.get("starting_after"):
            found = found[[item["id"] for item in found].index(after) + 1 :]
        size = min(int(query["limit"]), self.page_size)
        expand = {value for name, value in query.items() if name.startswith("expand")}
        return {
            "object": "list",
            "url": asked.path,
            "has_more": len(found) > size,
            "data": [self._expanded(item, expand) for item in found[:size]],
        }

    def _expanded(self, item: Item, expand: set[str]) -> Item:
        item = dict(item)
        if "data.customer" in expand and item.get("customer") in self.customers:
            item["customer"] = self.customers[item["customer"]]
        if "data.payment_intent.latest_charge" in expand and item["payment_intent"]:
            item["payment_intent"] = self.intents[item["payment_intent"]]
        if "data.latest_charge" in expand:
            item["latest_charge"] = {"id": item["latest_charge"], "created": item["created"] + 5}
        return item


def _payment_of(invoice: Item) -> Item:
    return {
        "id": "inpay_of_tern",
        "object": "invoice_payment",
        "amount_paid": invoice["amount_paid"],
        "amount_requested": invoice["amount_paid"],
        "created": invoice["created"],
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": "pi_of_invoice", "type": "payment_intent"},
        "status": "paid",
        "status_transitions": {
            "canceled_at": None,
            "paid_at": invoice["status_transitions"]["paid_at"],
        },
    }
