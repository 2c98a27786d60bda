"""A desk where deliveries come in and are worked off one by one, on a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic, sleep
from typing import Any

from psycopg.rows import dict_row

from creditledger.consumers.runner import Runner
from creditledger.consumers.worker import step
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.commands import Command
from creditledger.domain.events import Balance
from creditledger.domain.receipt import Receipt, Wish
from creditledger.infra.delivery import Delivery, read_delivery
from creditledger.infra.parking import Parking
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import Service, machine_clock, open_stream, service
from provider_bodies import STRIPE_PACK, TERN, body, changed

SESSION = "stripe.checkout.session.completed.payment_paid"
INTENT = "stripe.payment_intent.succeeded.pack"
PARTIAL_CHARGE = "stripe.charge.refunded.partial"
FULL_CHARGE = "stripe.charge.refunded.full"
REFUND = "stripe.refund.created.partial"
REFUND_AGAIN = "stripe.refund.updated.reference_available"
ORDER = "polar.order.paid.purchase"


class Desk:
    """Where deliveries come in and are worked off, one after another."""

    def __init__(self, parts: Service, **options: Any) -> None:
        self.parts = parts
        self.stream = open_stream(parts.settings, parts.url, parts.pool)
        self.runner = Runner(
            parts.writer, **{"now": machine_clock, "stripe_livemode": False, **options}
        )
        self._numbers = count()

    def wish(self, *commands: Command) -> None:
        """What people enter."""
        for command in commands:
            wish = Wish(command=command, actor="client:test", client_id="test", key=None)
            outcome = self.parts.writer.submit(wish).result(10)
            assert isinstance(outcome, Receipt), outcome
            assert outcome.outcome == "accepted"

    def put(self, content: bytes | str) -> Delivery:
        """A body (or one of the made ones by its name) as the webhook's route keeps it."""
        raw = body(content) if isinstance(content, str) else content
        polar = b'"api_version": "2026-10"' in raw
        headers = {"webhook-id": f"msg_{next(self._numbers)}"} if polar else {}
        delivery = read_delivery("polar" if polar else "stripe", raw, headers, machine_clock())
        self.stream.put(delivery)
        return delivery

    def work_off(self) -> None:
        """Try everything until nothing is due."""
        while step(self.stream, self.runner) or Parking(self.parts.pool).free():
            pass

    def work_until(self, holds: Callable[[], bool], seconds: float = 40) -> None:
        """Try what comes until it comes to that."""
        deadline = monotonic() + seconds
        while not holds():
            assert monotonic() < deadline, f"it did not come to that: {self.statuses()[:20]}"
            if not step(self.stream, self.runner):
                self.stream.wait(0.05)

    def hurry(self) -> None:
        """Let what waits for its next try be due now."""
        with self.parts.pool.connection() as connection:
            connection.execute("UPDATE webhook_deliveries SET due_at = now() WHERE due_at > now()")

    def tell(self, *contents: bytes | str) -> None:
        """Deliver and work off, one by one."""
        for content in contents:
            self.put(content)
            self.work_off()

    def balance(self, customer_id: str = TERN) -> Balance:
        """What a customer has, from the log."""
        account = CreditAccount(ids.account_id(customer_id, "credits"))
        stream = self.parts.store.load([account.id]).get(account.id)
        for told in () if stream is None else stream.events:
            account.apply(told)
        return account.balance()

    def available(self, customer_id: str = TERN) -> int:
        return self.balance(customer_id).available

    def rows(self) -> list[dict[str, Any]]:
        """All deliveries, in the order in which they came."""
        with self.parts.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute("SELECT * FROM webhook_deliveries ORDER BY sequence").fetchall()

    def statuses(self) -> list[tuple[str, str | None]]:
        return [(row["status"], row["reason"]) for row in self.rows()]


@contextmanager
def open_desk(url: str, *known: Command, settings: Settings | None = None) -> Iterator[Desk]:
    """A desk on a migrated database, at which this is known."""
    with service(settings or Settings(), url) as parts:
        desk = Desk(parts)
        desk.wish(*known)
        yield desk
        desk.stream.close()


def without_owner(name: str, **fields: Any) -> bytes:
    """A session that names no owner."""
    metadata = {"price_id": STRIPE_PACK, "quantity": "2"}
    return changed(name, metadata=metadata, client_reference_id=None, **fields)


def eventually(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until it comes to that."""
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it did not come to that"
        sleep(0.05)
