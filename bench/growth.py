"""`make bench-growth`: how cost grows with what grows, one table a topic, ready for the document.

Everything is measured beside one PostgreSQL with fsync on, without HTTP, so that what grows is not
lost in what does not. A few minutes by default; `--events 10000000` takes half an hour more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

import population
from creditledger.domain import commands as c
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.infra import deliveries
from creditledger.infra.embedded_postgres import embedded_postgres
from creditledger.infra.postgres_stream import PostgresStream
from creditledger.infra.proof import verify_ledger
from creditledger.infra.read_side import rebuild_projections
from creditledger.projections import balances, entries, holds, paging
from creditledger.projections.catalogue import PROJECTIONS
from timing import Grid, Place, Query, median_ms, place

_CUSTOMER = "ada"
_PLENTY = Credits(1_000_000_000)
_LOT = 10_000
_PAGE_ROWS = 50
_THOUSANDS = [1_000, 10_000, 100_000]


def main() -> None:
    """Measure it all, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the longest log")
    parser.add_argument("--most", type=int, default=10_000, help="lots and holds of an account")
    arguments = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="creditledger-growth-") as folder,
        embedded_postgres(Path(folder)) as server,
    ):
        for topic, sizes in (
            (lots, _powers(arguments.most)),
            (open_holds, _powers(arguments.most)),
            (history, _THOUSANDS),
            (accounts, _THOUSANDS),
            (kept_deliveries, _THOUSANDS),
            (events, _powers(arguments.events)[4:]),
        ):
            print(topic(server, sizes).markdown(), flush=True)
            print()
    print(f"Done in {time.monotonic() - began:.0f} s.")


def _powers(most: int) -> list[int]:
    """1, 10, 100 … as far as to `most`."""
    return [10**power for power in range(len(str(most))) if 10**power <= most]


def lots(server: str, sizes: list[int]) -> Grid:
    """An account of so many open lots, each with an expiry of its own."""
    grid = Grid("lots of the account", sizes)
    with place(server) as at:
        had = 0
        for size in sizes:
            _tell_in_batches(at, [_grant(days=1 + n % 3_000) for n in range(had, size)])
            had = size
            at.catch_up()
            grid.add("deduction of one credit", median_ms(partial(at.tell, _deduct(1))))
            cold = partial(at.first_command, _deduct(1))
            grid.add("the same, account not in memory", median_ms(cold))
            every = Credits(size * _LOT - _LOT // 2)
            took = median_ms(partial(_spend_and_refund, at, every), times=3)
            grid.add("deduction from nearly every lot, and its refund", took)
            at.catch_up()
            grid.add("balance from the read model", at.query_ms(_balance(at.now)))
    return grid


def open_holds(server: str, sizes: list[int]) -> Grid:
    """An account with so many open holds."""
    grid = Grid("open holds of the account", sizes)
    with place(server) as at:
        at.tell(c.GrantCredits(customer_id=_CUSTOMER, amount=_PLENTY))
        had = 0
        for size in sizes:
            _tell_in_batches(at, [_hold()] * (size - had))
            had = size
            at.catch_up()
            grid.add("hold and capture of it", median_ms(partial(_hold_and_capture, at)))
            grid.add("deduction", median_ms(partial(at.tell, _deduct(1))))
            cold = partial(at.first_command, _deduct(1))
            grid.add("the same, account not in memory", median_ms(cold))
            at.catch_up()
            grid.add("balance from the read model", at.query_ms(_balance(at.now)))
            page = partial(_holds_page, now=at.now)
            grid.add("page of open holds", at.query_ms(page))
    return grid


def history(server: str, sizes: list[int]) -> Grid:
    """Pages of a customer's history, from the newest to the oldest."""
    grid = Grid("entries of the customer", sizes)
    with place(server) as at:
        granted = at.tell(c.GrantCredits(customer_id=_CUSTOMER, amount=_PLENTY))[0]
        grant = ids.parse_event_id(ids.GRANT, str(granted.answer["grant_id"]))
        assert grant is not None
        had = 1
        for size in sizes:
            _tell_in_batches(at, [_deduct(1)] * (size - had))
            had = size
            at.catch_up()
            at.execute("VACUUM ANALYZE entries, entry_subjects")
            for name, position in (("newest", None), ("middle", size // 2), ("oldest", 60)):
                grid.add(f"page of entries, {name}", at.query_ms(partial(_page, before=position)))
            of_kind = partial(entries.entries, customer_id=_CUSTOMER, limit=_PAGE_ROWS)
            for name, kind in (("rare", "grant"), ("common", "deduction")):
                grid.add(f"page of one {name} kind", at.query_ms(partial(of_kind, kind=kind)))
            story = partial(entries.history, subject=grant, limit=_PAGE_ROWS)
            grid.add("page of what became of a grant", at.query_ms(story))
            moment = at.now - timedelta(seconds=1)
            state = partial(at.log.state_at, grant.stream, moment)
            grid.add("account at a past moment", median_ms(state))
    return grid


def accounts(server: str, sizes: list[int]) -> Grid:
    """So many accounts with a grant each."""
    grid = Grid("accounts", sizes)
    with place(server) as at:
        at.tell(c.GrantCredits(customer_id=_CUSTOMER, amount=_PLENTY))
        had = 0
        for size in sizes:
            grants = [_grant(customer=f"customer-{n}", days=30) for n in range(had, size)]
            _tell_in_batches(at, grants)
            had = size
            at.catch_up()
            grid.add("deduction", median_ms(partial(at.tell, _deduct(1))))
            cold = partial(at.first_command, _deduct(1))
            grid.add("the same, account not in memory", median_ms(cold))
            grid.add("balance from the read model", at.query_ms(_balance(at.now)))
            grid.add("sweeper's look for what is due, nothing is", median_ms(partial(_due, at)))
    return grid


def kept_deliveries(server: str, sizes: list[int]) -> Grid:
    """So many deliveries that were handled and are kept."""
    grid = Grid("deliveries kept", sizes)
    with place(server) as at:
        stream = PostgresStream(at.url, at.pool)
        for size in sizes:
            at.execute(_DELIVERIES, [size])
            at.execute("VACUUM ANALYZE webhook_deliveries")
            grid.add("taking the next one, none is there", median_ms(partial(_take, stream)))
            grid.add("counting those that wait", median_ms(stream.waiting))
            page = partial(deliveries.deliveries, limit=_PAGE_ROWS)
            grid.add("page of deliveries, newest", at.query_ms(page))
            parked = partial(deliveries.deliveries, limit=_PAGE_ROWS, status="parked")
            grid.add("page of parked ones, there are none", at.query_ms(parked))
        stream.close()
    return grid


def events(server: str, sizes: list[int]) -> Grid:
    """A log of so many events of 10,000 accounts."""
    grid = Grid("events in the log", sizes)
    with place(server, now=population.BEGINS_AT + timedelta(days=60)) as at:
        people = population.Population(at.store, accounts=min(10_000, sizes[0] // 2))
        people.begin()
        at.tell(c.GrantCredits(customer_id=_CUSTOMER, amount=_PLENTY))
        for size in sizes:
            people.fill(at.log.head, events=size)
            began = time.monotonic()
            rebuild_projections(at.url, [p.name for p in PROJECTIONS], _quietly)
            rebuilt = time.monotonic() - began
            grid.add("deduction", median_ms(partial(at.tell, _deduct(1))))
            cold = partial(at.first_command, _deduct(1))
            grid.add("the same, account not in memory", median_ms(cold))
            beginning = partial(at.log.read, 0, 100)
            grid.add("page of the log, from its beginning", median_ms(beginning))
            end = partial(at.log.read, at.log.head() - 100, 100)
            grid.add("page of the log, at its end", median_ms(end))
            at.catch_up()
            grid.add("balance from the read model", at.query_ms(_balance(at.now)))
            grid.add("page of entries, newest", at.query_ms(partial(_page, before=None)))
            head = at.log.head()
            grid.add("rebuild of all read models, µs an event", rebuilt / head * 1e6)
            began = time.monotonic()
            report = verify_ledger(at.url, datetime.now(UTC))
            if not report.clean:
                raise RuntimeError(f"verify found {report.differences[0]}")
            grid.add("verify, µs an event", (time.monotonic() - began) / head * 1e6)
    return grid


_DELIVERIES = """
    INSERT INTO webhook_deliveries (delivery_id, provider, provider_delivery_id, type, stream_key,
        body, headers, received_at, status, due_at, settled_at)
    SELECT 'whd_' || n, 'stripe', 'evt_' || n, 'charge.updated', 'pi_' || n,
        convert_to(repeat('{}', 1000), 'UTF8'), '{}', now(), 'done', now(), now()
    FROM generate_series((SELECT count(*) + 1 FROM webhook_deliveries), %s) AS n
"""


def _grant(*, customer: str = _CUSTOMER, days: int) -> c.GrantCredits:
    return c.GrantCredits(customer_id=customer, amount=Credits(_LOT), expires_after_days=days)


def _deduct(amount: int) -> c.DeductCredits:
    return c.DeductCredits(customer_id=_CUSTOMER, amount=Credits(amount))


def _hold() -> c.HoldCredits:
    return c.HoldCredits(customer_id=_CUSTOMER, amount=Credits(2), expires_in=86_400)


def _tell_in_batches(at: Place, commands: Sequence[c.Command]) -> None:
    for first in range(0, len(commands), 1_000):
        at.tell(*commands[first : first + 1_000])


def _spend_and_refund(at: Place, amount: Credits) -> None:
    told = at.tell(_deduct(amount))[0]
    at.tell(c.RefundDeduction(deduction_id=str(told.answer["deduction_id"])))


def _hold_and_capture(at: Place) -> None:
    told = at.tell(_hold())[0]
    at.tell(c.CaptureHold(hold_id=str(told.answer["hold_id"])))


def _balance(now: datetime) -> Query:
    return partial(balances.balances, customer_id=_CUSTOMER, now=now)


def _holds_page(connection: AsyncConnection[Any], *, now: datetime) -> Awaitable[Any]:
    return holds.holds(connection, _CUSTOMER, now, limit=_PAGE_ROWS, status="open")


def _page(connection: AsyncConnection[Any], *, before: int | None) -> Awaitable[Any]:
    scope = paging.scope("entries", _CUSTOMER, None, None, None, None, None)
    cursor = None if before is None else paging.cursor_at(str(before), scope)
    return entries.entries(connection, _CUSTOMER, limit=_PAGE_ROWS, cursor=cursor)


def _due(at: Place) -> object:
    with at.pool.connection() as connection:
        return balances.due_accounts(connection, at.now, after=UUID(int=0), limit=5_000)


def _take(stream: PostgresStream) -> None:
    with stream.take(1):
        pass


def _quietly(position: int, newest: int) -> None:
    pass


if __name__ == "__main__":
    main()
