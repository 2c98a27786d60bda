"""Stripe's own lists, read through its SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import orjson
import stripe

from creditledger.domain.provider_commands import Provider
from creditledger.infra.provider_lists import (
    Busy,
    Listed,
    NotPermitted,
    Passed,
    Patience,
    ProviderRefused,
    Unreadable,
    Window,
    guarded,
    id_of,
    seconds_of,
)

#: The version that objects are asked for in, whatever the SDK's own: one that is read here.
_VERSION: Final = "2026-10-28.endive"

_TIMEOUT_SECONDS: Final = 20
_PAGE: Final = 100

#: Lists are bounded by when an object was made, so they are read from so much earlier: an invoice
#: may be collected for three months,
_INVOICES_BACK: Final = timedelta(days=90)
#: a bank debit takes weeks, and a refund that was reported as done may fail within a month,
_PAYMENTS_BACK: Final = timedelta(days=30)
#: and banks take months over a dispute.
_DISPUTES_BACK: Final = timedelta(days=180)

_CLOSED_DISPUTES: Final = {"won", "lost", "prevented", "warning_closed"}

_SECONDS_MAX: Final = 253_402_300_799  # the last second of the year 9999

_Item = dict[str, Any]
#: A list of the SDK, which types the parameters of each by themselves.
_Question = Callable[[Any], Any]


class StripeLists:
    """The lists of one account at Stripe; `address` is set where another server stands in.

    `livemode` is what objects are taken for that do not say it themselves.
    """

    provider: Provider = "stripe"
    kinds = (
        "products",
        "prices",
        "customers",
        "invoices",
        "checkout sessions",
        "payment intents",
        "invoice payments",
        "refunds",
        "disputes",
        "subscriptions",
    )

    def __init__(
        self,
        api_key: str,
        *,
        livemode: bool,
        patience: Patience,
        now: Callable[[], datetime],
        address: str | None = None,
    ) -> None:
        self._http = stripe.RequestsClient(timeout=_TIMEOUT_SECONDS)
        client = stripe.StripeClient(
            api_key,
            stripe_version=_VERSION,
            base_addresses={} if address is None else {"api": address},
            http_client=self._http,
            max_network_retries=0,
        )
        self._v1 = client.v1
        self._livemode = livemode
        self._patience = patience
        self._now = now
        self._customers: set[str] = set()

    def read(self, window: Window) -> Iterator[Listed | Passed]:
        """What was paid in a window; and refunds, disputes, subscriptions and the catalogue.

        Of the latter Stripe tells when they were made, but not when they were last changed: so
        they are told as they stand.
        Customers are told where an object of theirs is, before it, if anything is noted on them.
        """
        self._customers.clear()
        yield from guarded("products", self._catalogue("product"))
        yield from guarded("prices", self._catalogue("price"))
        yield from guarded("invoices", self._invoices(window))
        yield from guarded("checkout sessions", self._sessions(window))
        yield from guarded("payment intents", self._payment_intents(window))
        yield from guarded("invoice payments", self._invoice_payments(window))
        yield from guarded("refunds", self._refunds(window))
        yield from guarded("disputes", self._disputes(window))
        yield from guarded("subscriptions", self._subscriptions(window))

    def envelope(self, listed: Listed, event_id: str) -> Mapping[str, Any]:
        """As Stripe sends it."""
        return {
            "id": event_id,
            "object": "event",
            "type": listed.type,
            "api_version": _VERSION,
            "created": int(listed.at.timestamp()),
            "livemode": listed.object.get("livemode", self._livemode),
            "data": {"object": listed.object},
        }

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()  # type: ignore[no-untyped-call]

    def _catalogue(self, of: Literal["product", "price"]) -> Iterator[Listed | Passed]:
        # With what is no longer for sale: late news may still name it.
        list_ = self._v1.products.list if of == "product" else self._v1.prices.list
        for read_at, item in self._pages(list_):
            yield _listed(f"{of}s", f"{of}.updated", item, read_at, recurs=True)

    def _invoices(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(
            self._v1.invoices.list,
            status="paid",
            created=_made(window, _INVOICES_BACK),
            expand=["data.customer"],
        )
        for read_at, invoice in pages:
            yield from self._owner(invoice, read_at)
            found = _listed("invoices", "invoice.paid", invoice, _paid_at(invoice))
            yield from _inside(window, found)

    def _sessions(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(
            self._v1.checkout.sessions.list,
            status="complete",
            created=_made(window, _PAYMENTS_BACK),
            expand=["data.customer", "data.payment_intent.latest_charge"],
        )
        for read_at, session in pages:
            if session.get("payment_status") == "unpaid":
                continue
            yield from self._owner(session, read_at)
            charge = _collapse(_collapse(session, "payment_intent"), "latest_charge") or session
            found = _listed(
                "checkout sessions", "checkout.session.completed", session, charge.get("created")
            )
            yield from _inside(window, found)

    def _payment_intents(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(
            self._v1.payment_intents.list,
            created=_made(window, _PAYMENTS_BACK),
            expand=["data.customer", "data.latest_charge"],
        )
        for read_at, intent in pages:
            # Those without metadata are told by their session or invoice.
            if intent.get("status") != "succeeded" or not intent.get("metadata"):
                continue
            yield from self._owner(intent, read_at)
            charge = _collapse(intent, "latest_charge") or intent
            found = _listed(
                "payment intents", "payment_intent.succeeded", intent, charge.get("created")
            )
            yield from _inside(window, found)

    def _invoice_payments(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(
            self._v1.invoice_payments.list, status="paid", created=_made(window, _INVOICES_BACK)
        )
        for _, payment in pages:
            found = _listed("invoice payments", "invoice_payment.paid", payment, _paid_at(payment))
            yield from _inside(window, found)

    def _refunds(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(self._v1.refunds.list, created=_made(window, _PAYMENTS_BACK))
        for _, refund in pages:
            event = "refund.failed" if refund.get("status") == "failed" else "refund.updated"
            yield _listed("refunds", event, refund, refund.get("created"))

    def _disputes(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(self._v1.disputes.list, created=_made(window, _DISPUTES_BACK))
        for read_at, dispute in pages:
            closed = dispute.get("status") in _CLOSED_DISPUTES
            event = "charge.dispute.closed" if closed else "charge.dispute.updated"
            yield _listed("disputes", event, dispute, read_at)

    def _subscriptions(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(
            self._v1.subscriptions.list,
            status="all",
            created={"lte": int(window.until.timestamp())},
            expand=["data.customer"],
        )
        for read_at, subscription in pages:
            ended_at = subscription.get("ended_at")
            if isinstance(ended_at, int) and ended_at < window.since.timestamp():
                continue
            yield from self._owner(subscription, read_at)
            ended = subscription.get("status") == "canceled"
            event = f"customer.subscription.{'deleted' if ended else 'updated'}"
            yield _listed("subscriptions", event, subscription, read_at, recurs=True)

    def _owner(self, item: _Item, read_at: datetime) -> Iterator[Listed | Passed]:
        """The customer that stands in an object, whose id then stands there alone."""
        customer = _collapse(item, "customer")
        customer_id = customer.get("id")
        if customer.get("metadata") and customer_id not in self._customers:
            self._customers.add(str(customer_id))
            yield _listed("customers", "customer.updated", customer, read_at)

    def _pages(self, list_: _Question, **params: Any) -> Iterator[tuple[datetime, _Item]]:
        """All objects, each with the moment before its page was asked for."""
        params["limit"] = _PAGE
        while True:
            at = self._now()
            page = self._patience.ask(lambda: _answer(list_, params))
            items = page.get("data")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise Unreadable("the answer is no list of objects")
            # What is read of them changes them.
            last = items[-1].get("id") if items else None
            yield from ((at, item) for item in items)
            if not page.get("has_more") or last is None:
                return
            params["starting_after"] = last


def _answer(list_: _Question, params: dict[str, Any]) -> dict[str, Any]:
    """One page as it came: the SDK's own objects turn some of its numbers into others."""
    try:
        answer = list_(params).last_response
    except stripe.AuthenticationError as error:
        raise ProviderRefused(
            f"Stripe does not accept the API key (401): check CREDITLEDGER_STRIPE_API_KEY: {error}"
        ) from error
    except stripe.PermissionError as error:
        raise NotPermitted(f"the API key may not read this (403): {error}") from error
    except stripe.APIConnectionError as error:
        raise Busy(f"Stripe cannot be reached: {str(error).splitlines()[0]}") from error
    except stripe.StripeError as error:
        status = error.http_status or 0
        if status == 429 or status >= 500:
            raise Busy(
                f"Stripe answers {status}", seconds_of((error.headers or {}).get("retry-after"))
            ) from error
        raise Unreadable(f"Stripe answers {status}: {error}") from error
    if answer is None:
        raise Unreadable("there is no answer")
    told = orjson.loads(answer.body)
    if not isinstance(told, dict):
        raise Unreadable("the answer is no JSON object")
    return told


def _listed(
    kind: str, event: str, item: _Item, at: object, *, recurs: bool = False
) -> Listed | Passed:
    """The object; `at` is in seconds since 1970, or ours."""
    try:
        item_id = id_of(item)
    except Unreadable as error:
        return Passed(kind=kind, name="an object", detail=str(error))
    # It opens a customer's payment page, and nothing here asks for it.
    item.pop("client_secret", None)
    if isinstance(at, int) and 0 <= at <= _SECONDS_MAX:
        at = datetime.fromtimestamp(at, UTC)
    if not isinstance(at, datetime):
        return Passed(kind=kind, name=item_id, detail=f"its time is {at!r}")
    return Listed(kind=kind, type=event, at=at, object=item, recurs=recurs)


def _inside(window: Window, found: Listed | Passed) -> Iterator[Listed | Passed]:
    """What was paid in the window, and what cannot be told."""
    if isinstance(found, Passed) or window.since <= found.at <= window.until:
        yield found


def _collapse(item: _Item, name: str) -> _Item:
    """The object in a field, whose id then stands there as it does in events."""
    found = item.get(name)
    if not isinstance(found, dict):
        return {}
    item[name] = found.get("id")
    return found


def _paid_at(item: _Item) -> object:
    moments = item.get("status_transitions")
    return moments.get("paid_at") if isinstance(moments, dict) else None


def _made(window: Window, back: timedelta) -> dict[str, int]:
    return {
        "gte": int((window.since - back).timestamp()),
        "lte": int(window.until.timestamp()),
    }
