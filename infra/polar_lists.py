"""Polar's own lists, read through its SDK's requests and paging.

The SDK's models refuse genuine values that are new to them (a new billing reason, for instance),
so answers are kept as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import orjson
from polar.base import (
    PolarDeserializationError,
    PolarError,
    PolarNetworkError,
    SyncClientBase,
    resolve_base_url,
)
from polar.v2026_10 import Polar
from polar.v2026_10.client import SERVERS
from polar.v2026_10.services.disputes import DisputesSync
from polar.v2026_10.services.orders import OrdersSync
from polar.v2026_10.services.refunds import RefundsSync
from polar.v2026_10.services.subscriptions import SubscriptionsSync

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
from creditledger.infra.settings import Environment

_TIMEOUT_SECONDS: Final = 20.0
_PAGE: Final = 100

#: An order may be paid, or refunded, long after it was made; dunning takes some weeks.
_ORDERS_BACK: Final = timedelta(days=45)

#: A refund that was reported as done may still fail within a month.
_REFUNDS_BACK: Final = timedelta(days=30)

#: Banks take months over a dispute.
_DISPUTES_BACK: Final = timedelta(days=180)


class PolarLists:
    """The lists of one organization at Polar; `address` is set where another server stands in."""

    provider: Provider = "polar"
    kinds = ("orders", "refunds", "disputes", "subscriptions")

    def __init__(
        self,
        access_token: str,
        environment: Environment,
        *,
        patience: Patience,
        now: Callable[[], datetime],
        address: str | None = None,
    ) -> None:
        self._client = _Client(
            resolve_base_url(SERVERS, environment, address),
            Polar.version,
            access_token,
            _TIMEOUT_SECONDS,
        )
        self._orders = OrdersSync(self._client)
        self._refunds = RefundsSync(self._client)
        self._disputes = DisputesSync(self._client)
        self._subscriptions = SubscriptionsSync(self._client)
        self._patience = patience
        self._now = now

    def read(self, window: Window) -> Iterator[Listed | Passed]:
        """Paid orders, refunds, disputes and subscriptions that may have changed in a window.

        Orders that are named by a refund or dispute are read as well, however old they are: only
        they say how much is refunded.
        """
        told: set[str] = set()
        for found in guarded("orders", self._read_orders(window)):
            if isinstance(found, Listed):
                told.add(found.object["id"])
            yield found
        later = [
            *guarded("refunds", self._newest("refunds", _REFUNDS_BACK, window)),
            *guarded("disputes", self._newest("disputes", _DISPUTES_BACK, window)),
        ]
        named = dict.fromkeys(
            found.object.get("order_id") for found in later if isinstance(found, Listed)
        )
        for order_id in named:
            if isinstance(order_id, str) and order_id not in told:
                yield from guarded("orders", self._order(order_id))
        yield from later
        yield from guarded("subscriptions", self._read_subscriptions(window))

    def close(self) -> None:
        """Let go of the connections."""
        self._client.__exit__()

    def envelope(self, listed: Listed, event_id: str) -> Mapping[str, Any]:
        """As Polar sends it; its id is a header of the delivery."""
        return {
            "type": listed.type,
            "timestamp": listed.at.isoformat(),
            "api_version": Polar.version,
            "data": listed.object,
        }

    def _read_orders(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(
            lambda page: self._orders.list(
                created_after=(window.since - _ORDERS_BACK).isoformat(),
                created_before=window.until.isoformat(),
                page=page,
                limit=_PAGE,
                sorting=["created_at"],
            )
        )
        for at, order in pages:
            found = _listed("orders", "order.updated", at, order)
            if isinstance(found, Passed) or (
                order.get("paid") is not False and _changed(order) >= window.since
            ):
                yield found

    def _order(self, order_id: str) -> Iterator[Listed | Passed]:
        at = self._now()
        try:
            order = self._ask(lambda: self._orders.get(order_id))
        except Unreadable as error:
            yield Passed(kind="orders", name=order_id, detail=str(error))
            return
        if order.get("paid") is not False:
            yield _listed("orders", "order.updated", at, order)

    def _newest(self, kind: str, back: timedelta, window: Window) -> Iterator[Listed | Passed]:
        """Refunds or disputes that were changed since then: their lists know no such bound."""
        lists = self._refunds if kind == "refunds" else self._disputes
        # Polar sends no event about disputes: that one is of our own.
        event = "refund.updated" if kind == "refunds" else "dispute.updated"
        pages = self._pages(
            lambda page: lists.list(page=page, limit=_PAGE, sorting=["-created_at"])
        )
        for at, item in pages:
            found = _listed(kind, event, at, item)
            if isinstance(found, Passed):
                yield found
                continue
            made = _time(item, "created_at")
            if made < window.since - back:
                return
            if made <= window.until and _changed(item) >= window.since:
                yield found

    def _read_subscriptions(self, window: Window) -> Iterator[Listed | Passed]:
        pages = self._pages(
            lambda page: self._subscriptions.list(page=page, limit=_PAGE, sorting=["started_at"])
        )
        for at, item in pages:
            found = _listed("subscriptions", "subscription.updated", at, item)
            if isinstance(found, Passed) or (
                _changed(item) >= window.since and _time(item, "created_at") <= window.until
            ):
                yield found

    def _pages(self, ask: Callable[[int], object]) -> Iterator[tuple[datetime, Any]]:
        """All items, each with the moment before its page was asked for."""
        page = 1
        while True:
            at = self._now()
            answer = self._ask(lambda: ask(page))  # noqa: B023 - asked at once
            items, pagination = answer.get("items"), answer.get("pagination")
            last = pagination.get("max_page") if isinstance(pagination, dict) else None
            if not isinstance(items, list) or not isinstance(last, int):
                raise Unreadable("the answer is no list")
            yield from ((at, item) for item in items)
            if page >= last or not items:
                return
            page += 1

    def _ask(self, question: Callable[[], object]) -> dict[str, Any]:
        return self._patience.ask(lambda: self._client.told(question))


class _Client(SyncClientBase):
    """The SDK's own request layer, which keeps the last answer as it came."""

    _answer: httpx.Response | None = None

    def send_request(self, request: httpx.Request) -> httpx.Response:
        """As the SDK asks for. Raises what became of it in our own words."""
        self._answer = None
        try:
            answer = super().send_request(request)
        except PolarNetworkError as error:
            raise Busy(f"Polar cannot be reached: {error.message}") from error
        place = request.url.path
        if answer.status_code == 401:
            raise ProviderRefused(
                "Polar does not accept the access token (401): check that"
                " CREDITLEDGER_POLAR_ACCESS_TOKEN belongs to CREDITLEDGER_POLAR_ENVIRONMENT"
            )
        if answer.status_code == 403:
            raise NotPermitted(f"the access token may not read {place} (403)")
        if answer.status_code == 429 or answer.is_server_error:
            raise Busy(
                f"Polar answers {answer.status_code} to {place}",
                seconds_of(answer.headers.get("retry-after")),
            )
        if not answer.is_success:
            raise Unreadable(f"Polar answers {answer.status_code} to {place}: {answer.text[:200]}")
        self._answer = answer
        return answer

    def told(self, question: Callable[[], object]) -> dict[str, Any]:
        """The JSON object that a request of the SDK brought, whatever its models say of it."""
        try:
            question()
        except PolarDeserializationError:
            # What its models do not know, the translators park by name.
            pass
        except (PolarError, ValueError) as error:
            raise Unreadable(f"{type(error).__name__}: {error}") from error
        assert self._answer is not None
        told = orjson.loads(self._answer.content)
        if not isinstance(told, dict):
            raise Unreadable("the answer is no JSON object")
        return told


def _listed(kind: str, event: str, at: datetime, item: Any) -> Listed | Passed:
    if not isinstance(item, dict):
        return Passed(kind=kind, name="an item", detail="it is no JSON object")
    name = "an item"
    try:
        name = id_of(item)
        _changed(item)
    except Unreadable as error:
        return Passed(kind=kind, name=name, detail=str(error))
    return Listed(kind=kind, type=event, at=at, object=item)


def _changed(item: Mapping[str, Any]) -> datetime:
    """When an object was last changed. Raises Unreadable."""
    if item.get("modified_at") is None:
        return _time(item, "created_at")
    return max(_time(item, "modified_at"), _time(item, "created_at"))


def _time(item: Mapping[str, Any], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(item[name])
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Unreadable(f"{name} is {item.get(name)!r}, where a time was expected") from None
