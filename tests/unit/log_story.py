"""Events and receipts for tests of the log: it matters where they stand, not what they say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.events import Balance, Context, Deducted, LotAmount
from creditledger.domain.receipt import Receipt
from creditledger.domain.snapshots import FORM
from creditledger.domain.store import Snapshot
from creditledger.infra.database import Pool, connection_pool

T0 = datetime(2026, 9, 1, 12, tzinfo=UTC)
CLIENT = "client_1"


def account(customer_id: str) -> UUID:
    """The stream of a customer's credits."""
    return ids.account_id(customer_id, "credits")


def moment(version: int) -> datetime:
    """When the event of this version was recorded: a second after the one before."""
    return T0 + timedelta(seconds=version)


def deducted(customer_id: str, version: int) -> Deducted:
    """The event at this version of the customer's account."""
    return Deducted(
        originator_id=account(customer_id),
        originator_version=version,
        recorded_at=moment(version),
        context=Context(f"client:{CLIENT}", "rcp_x", "rcp_x"),
        customer_id=customer_id,
        asset="credits",
        after=Balance(100, 0, 0, 0, 0),
        amount=Credits(1),
        lots=(LotAmount("grt_x", Credits(1)),),
        overage=Credits(0),
    )


def history(customer_id: str, *, first: int = 1, last: int) -> list[Deducted]:
    """The events of these versions."""
    return [deducted(customer_id, version) for version in range(first, last + 1)]


def receipt(key: str, *, customer_id: str | None = "ada", outcome: str = "accepted") -> Receipt:
    """A receipt of this key, whose answer names it."""
    return Receipt(
        id=ids.receipt_uuid(CLIENT, key),
        client_id=CLIENT,
        key=key,
        fingerprint=b"\x00\xff" * 16,
        command="deduct",
        customer_id=customer_id,
        asset=None if customer_id is None else "credits",
        outcome=outcome,
        answer={"key": key, "z": 1, "a": ["é", None, {"n": 2**53 - 1}]},
        recorded_at=T0,
    )


def at_position(first: Receipt, position: int) -> Receipt:
    """The receipt as it is found after it was saved."""
    return replace(first, position=position)


def snapshot(customer_id: str, version: int, *, form: int = FORM) -> Snapshot:
    """A state of the account after the event of this version."""
    state = {"form": form, "version": version}
    return Snapshot(account(customer_id), version, moment(version), state)


@contextmanager
def pool_for(url: str, *, size: int = 4) -> Iterator[Pool]:
    """An open pool of connections."""
    with connection_pool(url, "tests", size=size) as pool:
        pool.wait()
        yield pool
