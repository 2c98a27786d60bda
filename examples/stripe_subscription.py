"""A subscription at Stripe, and the events that Stripe sends of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demo_client import Demo


@dataclass(frozen=True)
class Plan:
    """A recurring price: what it costs, in cents, and what a month of it is worth."""

    name: str
    price_id: str
    cents: int
    credits: int


@dataclass(frozen=True)
class Month:
    """The period that is paid for, in seconds since 1970."""

    start: int
    end: int


class StripeSubscription:
    """One subscription; its events carry ever later seconds, none of which lies in the future."""

    def __init__(self, demo: Demo, plan: Plan, month: Month) -> None:
        self.demo = demo
        self.plan = plan
        self.month = month
        self._began = self._at = month.start
        self._events = 0

    @property
    def id(self) -> str:
        """Stripe's id of it."""
        return f"sub_{self.demo.run}"

    def checkout(self, invoice: str) -> None:
        """The Checkout Session with which it began. It names the customer, and grants nothing."""
        self.demo.stripe(
            "stripe.checkout.session.completed.subscription",
            **self._moment(),
            AMOUNT=self.plan.cents,
            INVOICE=self.object(invoice),
        )

    def report(self, what: str, status: str = "active", **changes: Any) -> None:
        """The subscription as it stands, in an event of the type `customer.subscription.…`."""
        values = {
            "TYPE": f"customer.subscription.{what}",
            "STATUS": status,
            "PRICE": self.plan.price_id,
            "PLAN": self.plan.name,
            "AMOUNT": self.plan.cents,
            "AMOUNT_DECIMAL": str(self.plan.cents),
            "BEGAN": self._began,
            "START": self.month.start,
            "END": self.month.end,
            "INVOICE": None,
            "CANCEL_AT": None,
            "CANCEL_AT_PERIOD_END": False,
            "CANCELED_AT": None,
            "ENDED_AT": None,
            "WHY_CANCELED": None,
        }
        self.demo.stripe("stripe.customer.subscription", **{**values, **self._moment(), **changes})

    def bill(self, name: str, reason: str, *lines: dict[str, Any]) -> str:
        """An invoice that was paid; returns the event's id."""
        invoice = self.object(name)
        cents = sum(line["AMOUNT"] for line in lines)
        return self.demo.stripe(
            "stripe.invoice.paid",
            **self._moment(),
            INVOICE=invoice,
            REASON=reason,
            AMOUNT=cents,
            NUMBER=f"{self.demo.run.upper()}-{name}",
            URL=f"/v1/invoices/{invoice}/lines",
            LINES=self._lines(invoice, lines),
            LINES_COUNT=len(lines),
        )

    def whole(self) -> dict[str, Any]:
        """A line for the whole month on the plan."""
        return self._line(self.plan, self.plan.cents, f"1 × {self.plan.name}")

    def change(self, plan: Plan, *, cents: int) -> Sequence[dict[str, Any]]:
        """Lines for the rest of the month: the old plan is given back, the new one begun."""
        old, self.plan = self.plan, plan
        back = -(old.cents // 2)
        credited = {"invoice": self.object("first"), "invoice_line_items": [self.object("line")]}
        return (
            self._line(old, back, f"Unused time on {old.name}", credited),
            self._line(plan, cents - back, f"Remaining time on {plan.name}", None),
        )

    def tie(self, invoice: str, *, cents: int) -> None:
        """The news that says by which PaymentIntent an invoice was paid: nothing else does."""
        self.demo.stripe(
            "stripe.invoice_payment.paid",
            **self._moment(),
            INVOICE_PAYMENT=f"inpay_{self.demo.run}_{invoice}",
            INVOICE=self.object(invoice),
            PAYMENT_INTENT=self._intent(invoice),
            AMOUNT=cents,
        )

    def dispute(self, what: str, status: str, invoice: str, *, cents: int) -> None:
        """A dispute over an invoice's payment; like all that banks do, it names no invoice."""
        self.demo.stripe(
            "stripe.charge.dispute",
            **self._moment(),
            TYPE=f"charge.dispute.{what}",
            STATUS=status,
            CHARGE=f"ch_{self.demo.run}_{invoice}",
            PAYMENT_INTENT=self._intent(invoice),
            AMOUNT=cents,
        )

    def refund(self, invoice: str, *, cents: int, of: int) -> str:
        """A refund of an invoice's payment; returns the event's id."""
        return self.demo.stripe(
            "stripe.charge.refunded",
            **self._moment(),
            CHARGE=f"ch_{self.demo.run}_{invoice}",
            PAYMENT_INTENT=self._intent(invoice),
            STRIPE_BUYER=f"cus_sub_{self.demo.run}",
            METADATA={},
            AMOUNT=of,
            REFUNDED=cents,
        )

    def object(self, invoice: str) -> str:
        """Stripe's id of an invoice."""
        return f"in_{self.demo.run}_{invoice}"

    def _intent(self, invoice: str) -> str:
        return f"pi_{self.demo.run}_{invoice}"

    def _moment(self) -> dict[str, Any]:
        """An id and a time for the next event, once that second has come."""
        self._events += 1
        self._at = max(self._at + 1, self.month.start)
        time.sleep(max(0.0, self._at - time.time()))
        return {"EVENT": f"evt_{self.demo.run}_{self._events}", "AT": self._at}

    def _line(
        self, plan: Plan, cents: int, description: str, *credited: dict[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "AMOUNT": cents,
            "AMOUNT_DECIMAL": str(cents),
            "DESCRIPTION": description,
            "PRICE": plan.price_id,
            "PRORATION": bool(credited),
            "CREDITED_ITEMS": credited[0] if credited else None,
            "START": self._at if credited else self.month.start,
            "END": self.month.end,
        }

    def _lines(self, invoice: str, lines: Sequence[dict[str, Any]]) -> list[Any]:
        return [
            self.demo.body(
                "stripe.invoice.line",
                **line,
                LINE=f"il_{invoice}_{number}",
                INVOICE=invoice,
                INVOICE_ITEM=f"ii_{invoice}_{number}" if line["PRORATION"] else None,
            )
            for number, line in enumerate(lines)
        ]
