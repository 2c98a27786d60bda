"""What read models answer, held against accounts folded from the same events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import compress
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from creditledger.domain import commands as c
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.amounts import Credits, Money
from creditledger.domain.answers import instant
from creditledger.domain.books import rebuild
from creditledger.domain.errors import Invalid
from creditledger.domain.events import AccountEvent
from creditledger.domain.ids import EventRef
from creditledger.infra.database import Pool, async_connection_pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.projections import balances, checkpoints, entries, holds, refusals
from creditledger.projections.entry_lines import KINDS
from creditledger.projections.explanation import explain
from creditledger.projections.feed import public_event
from long_story import BEGINS_AT, LongStory
from read_models import catch_up

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    reads = async_connection_pool(database_url, "tests", size=2)
    async with reads, reads.connection() as connection:
        yield connection


def accounts_of(store: PostgresLedgerStore, customer: str) -> list[CreditAccount]:
    """A customer's accounts, each folded from its own events."""
    streams = [ids.account_id(customer, asset) for asset in ("credits", "tokens")]
    accounts = []
    for stream, stored in store.load(streams).items():
        account = rebuild(CreditAccount, stream, stored)
        assert isinstance(account, CreditAccount)
        accounts.append(account)
    return sorted(accounts, key=lambda account: account.asset)


def answer(story: LongStory, *commands: Any) -> dict[str, Any]:
    """What the last of these commands was told."""
    told = story.tell(*commands)[-1]
    return dict(told.answer)


# Balances.


async def test_balances_are_those_of_the_accounts_own_events_whenever_one_looks(
    database_url: str, story: LongStory, pool: Pool, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    store = PostgresLedgerStore(pool)
    for _ in range(8):
        story.go_on(160)
        catch_up(database_url, log)
        for later in (timedelta(), HOUR, 40 * DAY):
            at = story.now + later
            for customer in story.customers:
                exact = balances.balances_answer(customer, accounts_of(store, customer), at)
                read = await balances.balances(reading, customer, at)
                assert read == {**exact, "position": log.head()}


async def test_a_customer_that_was_never_seen_has_zeros(reading: AsyncConnection[Any]) -> None:
    nothing = {
        "available": 0,
        "held": 0,
        "scheduled": 0,
        "debt": 0,
        "overage": 0,
        "by_source": {},
        "next_expiry": None,
        "lots": [],
    }
    read = await balances.balances(reading, "nobody", BEGINS_AT)
    assert read == {
        "customer_id": "nobody",
        "position": 0,
        "balances": [{"asset": "credits", **nothing}],
    }
    read = await balances.balances(reading, "nobody", BEGINS_AT, asset="tokens")
    assert read["balances"] == [{"asset": "tokens", **nothing}]


async def test_what_time_does_shows_before_it_is_written_down(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    story.tell(
        c.GrantCredits(
            customer_id="ada",
            amount=Credits(100),
            source="trial",
            expires_at=BEGINS_AT + HOUR,
        ),
        c.GrantCredits(
            customer_id="ada",
            amount=Credits(50),
            source="top_up",
            effective_at=BEGINS_AT + 2 * HOUR,
        ),
        c.HoldCredits(customer_id="ada", amount=Credits(30), expires_in=5_400),
    )
    catch_up(database_url, log)
    instant_before = timedelta(microseconds=1)
    seen = []
    for moment in (
        BEGINS_AT + HOUR - instant_before,
        BEGINS_AT + HOUR,
        BEGINS_AT + 1.5 * HOUR - instant_before,
        BEGINS_AT + 1.5 * HOUR,
        BEGINS_AT + 2 * HOUR,
    ):
        read = await balances.balances(reading, "ada", moment)
        figures = read["balances"][0]
        seen.append((figures["available"], figures["held"], figures["scheduled"]))
    assert seen == [(70, 30, 50), (0, 30, 50), (0, 30, 50), (0, 0, 50), (50, 0, 0)]


async def test_assets_are_known_before_the_read_model_has_seen_them(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    story.tell(c.GrantCredits(customer_id="ada", amount=Credits(1)))
    catch_up(database_url, log)
    story.tell(c.GrantCredits(customer_id="ada", asset="tokens", amount=Credits(1)))
    story.tell(c.GrantCredits(customer_id="bob", asset="messages", amount=Credits(1)))
    assert await balances.assets(reading, "ada") == ["credits", "tokens"]
    assert await balances.assets(reading, "bob") == ["messages"]
    assert await balances.assets(reading, "nobody") == []


async def test_a_reader_waits_for_a_position_and_no_longer_than_it_said(
    database_url: str, story: LongStory, log: EventLog
) -> None:
    story.tell(c.GrantCredits(customer_id="ada", amount=Credits(1)))
    catch_up(database_url, log)
    async with async_connection_pool(database_url, "tests", size=1) as reads:
        head = log.head()
        reached = checkpoints.reached
        assert await reached(reads.connection, "balances", head, timeout_seconds=5)
        assert not await reached(reads.connection, "balances", head + 1, timeout_seconds=0.05)


# Grants and deductions.


async def test_a_grant_is_told_with_what_is_left_of_it_and_what_happened_to_it(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    grant = c.GrantCredits(
        customer_id="ada",
        amount=Credits(100),
        source="top_up",
        expires_at=BEGINS_AT + DAY,
        cost_basis=Money(900, "USD"),
        reference="invoice 7",
        metadata={"campaign": "autumn"},
    )
    grant_id = answer(story, grant)["grant_id"]
    deduct = c.DeductCredits(customer_id="ada", amount=Credits(40))
    deduction_id = answer(story, deduct)["deduction_id"]
    story.tell(
        c.HoldCredits(customer_id="ada", amount=Credits(10)),
        c.RefundDeduction(deduction_id=deduction_id, amount=Credits(5)),
        c.RevokeGrant(grant_id=grant_id, amount=Credits(70)),
    )
    catch_up(database_url, log)
    told = await balances.grant(reading, grant_id, story.now)
    assert told is not None
    assert told["position"] == log.head()
    assert (told["amount"], told["remaining"], told["held"]) == (100, 0, 10)
    assert (told["revoked"], told["debt"], told["written_off"]) == (70, 15, 0)
    assert told["cost_basis"] == {"amount": 900, "currency": "USD"}
    assert told["reference"] == "invoice 7"
    assert told["metadata"] == {"campaign": "autumn"}
    assert told["expires_at"] == instant(BEGINS_AT + DAY)
    lapsed = await balances.grant(reading, grant_id, story.now + HOUR)
    # The ten that come back are taken for the debt, so nothing is left to spend.
    assert lapsed is not None
    assert (lapsed["remaining"], lapsed["held"]) == (0, 0)
    ref = ids.parse_event_id(ids.GRANT, grant_id)
    assert ref is not None
    history = await entries.history(reading, ref, limit=10)
    assert [line["kind"] for line in history["history"]] == [
        "revocation",
        "refund",
        "hold",
        "deduction",
        "grant",
    ]
    assert history["next_cursor"] is None
    deduction = await entries.deduction(reading, deduction_id)
    assert deduction is not None
    assert (deduction["deducted"], deduction["refunded"]) == (40, 5)
    assert await balances.grant(reading, grant_id[:-1] + "9", story.now) is None
    assert await entries.deduction(reading, grant_id.replace("grt", "ded")) is None
    assert await entries.deduction(reading, "ded_nonsense") is None


# Entries.


async def test_entries_tell_every_event_of_a_customer_newest_first_and_add_up(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    story.go_on(1_500)
    catch_up(database_url, log)
    logged = [e for _, e in log.read(0, 100_000).events if isinstance(e, AccountEvent)]
    kinds = set()
    for customer in story.customers:
        told = await all_pages(reading, customer, limit=37)
        events = [event for event in logged if event.customer_id == customer]
        assert [line["entry_id"] for line in told] == [
            ids.event_id(ids.ENTRY, ids.stream_key(e.originator_id), e.originator_version)
            for e in reversed(events)
        ]
        totals = {"credits": 0, "tokens": 0}
        for line in reversed(told):
            totals[line["asset"]] += line["amount"]
            assert line["total_after"] == totals[line["asset"]]
        kinds |= {line["kind"] for line in told}
    assert kinds == set(KINDS)


async def all_pages(
    reading: AsyncConnection[Any], customer: str, *, limit: int, **filters: Any
) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await entries.entries(reading, customer, limit=limit, cursor=cursor, **filters)
        assert len(page["entries"]) <= limit
        told += page["entries"]
        cursor = page["next_cursor"]
        if cursor is None:
            return told


async def test_entries_are_filtered_by_kind_feature_asset_and_time(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    story.go_on(400)
    catch_up(database_url, log)
    customer = story.customers[0]
    everything = await all_pages(reading, customer, limit=100)
    middle = datetime.fromisoformat(everything[len(everything) // 2]["recorded_at"])
    moment = str(instant(middle))
    cases: list[tuple[dict[str, Any], list[bool]]] = [
        ({"kind": "deduction"}, [line["kind"] == "deduction" for line in everything]),
        ({"kind": "grant"}, [line["kind"] == "grant" for line in everything]),
        ({"feature": "chat"}, [line["feature"] == "chat" for line in everything]),
        ({"asset": "tokens"}, [line["asset"] == "tokens" for line in everything]),
        ({"since": middle}, [line["recorded_at"] >= moment for line in everything]),
        ({"until": middle}, [line["recorded_at"] < moment for line in everything]),
    ]
    for filters, wanted in cases:
        told = await all_pages(reading, customer, limit=10, **filters)
        assert told == list(compress(everything, wanted))
        assert 0 < len(told) < len(everything)


async def test_entries_of_an_older_release_read_like_newer_ones(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    story.go_on(400)
    catch_up(database_url, log)
    customer = story.customers[0]

    async def read() -> list[Any]:
        told = await all_pages(reading, customer, limit=100)
        refs = [ids.parse_event_id(ids.GRANT, line.get("grant_id", "")) for line in told]
        return [told, *[await entries.history(reading, ref, limit=7) for ref in refs if ref]]

    newer = await read()
    rows = await reading.execute("SELECT position FROM entries WHERE lot IS NOT NULL")
    positions = {row[0] for row in await rows.fetchall()}
    assert 1 < len(positions & {line["position"] for line in newer[0]}) < len(newer[0])
    await reading.execute(
        "INSERT INTO entry_subjects SELECT account_id, lot, version FROM entries"
        " WHERE lot IS NOT NULL"
    )
    details = ("hold_id", "overage", "deducted", "transfer_to", "deduction_id")
    for line in newer[0]:
        if line["position"] in positions:
            await reading.execute(
                "UPDATE entries SET lot = NULL, lots = %s, details = %s WHERE position = %s",
                (Jsonb(line["lots"]), Jsonb({k: line[k] for k in details}), line["position"]),
            )
    assert await read() == newer


async def test_a_cursor_serves_its_own_listing_alone(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    story.go_on(100)
    catch_up(database_url, log)
    customer, other = story.customers[:2]
    page = await entries.entries(reading, customer, limit=2)
    cursor = page["next_cursor"]
    assert cursor is not None
    for tampered in ("", "x", cursor[:-1], cursor + "0", "9" + cursor, cursor.upper() + "-", "1-2"):
        with pytest.raises(Invalid, match="cursor"):
            await entries.entries(reading, customer, limit=2, cursor=tampered)
    with pytest.raises(Invalid, match="cursor"):
        await entries.entries(reading, other, limit=2, cursor=cursor)
    with pytest.raises(Invalid, match="cursor"):
        await entries.entries(reading, customer, limit=2, cursor=cursor, kind="grant")
    with pytest.raises(Invalid, match="cursor"):
        await holds.holds(reading, customer, story.now, limit=2, cursor=cursor)


# Holds.


async def test_holds_are_told_open_and_closed_with_how_they_ended(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    story.tell(c.GrantCredits(customer_id="ada", amount=Credits(1_000)))
    hold_ids = [
        answer(story, c.HoldCredits(customer_id="ada", amount=Credits(100), expires_in=60))[
            "hold_id"
        ]
        for _ in range(5)
    ]
    _, captured, released, partly, over = hold_ids
    story.tell(
        c.CaptureHold(hold_id=captured, amount=Credits(70)),
        c.ReleaseHold(hold_id=released),
        c.CaptureHold(hold_id=partly, amount=Credits(20), final=False),
        c.CaptureHold(hold_id=over, amount=Credits(130)),
    )
    catch_up(database_url, log)

    async def told(now: datetime, **filters: Any) -> list[tuple[Any, ...]]:
        page = await holds.holds(reading, "ada", now, limit=10, **filters)
        fields = ("status", "held", "captured", "released")
        return [tuple(hold[field] for field in fields) for hold in reversed(page["holds"])]

    closed = [("captured", 0, 70, 30), ("released", 0, 0, 100), ("captured", 0, 130, 0)]
    assert await told(story.now) == [
        ("open", 100, 0, 0),
        *closed[:2],
        ("open", 80, 20, 0),
        closed[2],
    ]
    assert await told(story.now, status="open") == [("open", 100, 0, 0), ("open", 80, 20, 0)]
    assert await told(story.now, status="captured") == [closed[0], closed[2]]
    later = story.now + timedelta(seconds=60)
    lapsed = [("lapsed", 0, 0, 100), ("lapsed", 0, 20, 80)]
    assert await told(later, status="lapsed") == lapsed
    assert await told(later, status="open") == []
    seen = await holds.hold(reading, partly, later)
    # Once the lapse is written down, nothing that was told of it changes.
    story.now = later + DAY
    story.tell(c.GrantCredits(customer_id="ada", amount=Credits(1)))
    catch_up(database_url, log)
    assert await holds.hold(reading, partly, later) == seen
    assert await told(later, status="lapsed") == lapsed
    assert await holds.hold(reading, "hld_nonsense", later) is None


async def test_holds_are_told_in_pages(
    database_url: str, story: LongStory, log: EventLog, reading: AsyncConnection[Any]
) -> None:
    story.tell(c.GrantCredits(customer_id="ada", amount=Credits(100)))
    for _ in range(5):
        story.tell(c.HoldCredits(customer_id="ada", amount=Credits(1)))
    catch_up(database_url, log)
    for status in (None, "open"):
        first = await holds.holds(reading, "ada", story.now, limit=3, status=status)
        rest = await holds.holds(
            reading, "ada", story.now, limit=3, status=status, cursor=first["next_cursor"]
        )
        numbers = [ids.version_of(h["hold_id"]) for h in first["holds"] + rest["holds"]]
        assert numbers == [6, 5, 4, 3, 2]
        assert rest["next_cursor"] is None


# Refusals.


async def test_refusals_are_told_with_what_was_there_newest_first(
    story: LongStory, reading: AsyncConnection[Any]
) -> None:
    story.tell(c.GrantCredits(customer_id="ada", amount=Credits(10)))
    # All of one moment: the order is total nevertheless.
    story.tell(*(c.DeductCredits(customer_id="ada", amount=Credits(n)) for n in range(11, 16)))
    story.now += HOUR
    story.tell(c.HoldCredits(customer_id="ada", amount=Credits(99)))
    told: list[dict[str, Any]] = []
    cursor = None
    for _ in range(3):
        page = await refusals.refusals(reading, "ada", limit=2, cursor=cursor)
        told += page["refusals"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert told[0]["command"] == "hold"
    assert told[0]["answer"]["available"] == 10
    assert sorted(refusal["answer"]["required"] for refusal in told) == [11, 12, 13, 14, 15, 99]
    assert {refusal["outcome"] for refusal in told} == {"insufficient_credits"}
    page = await refusals.refusals(reading, "ada", limit=2)
    with pytest.raises(Invalid, match="cursor"):
        await refusals.refusals(reading, "bob", limit=2, cursor=page["next_cursor"])


# Explanations and the feed.


async def test_an_entry_is_explained_by_the_burn_order_of_its_moment(
    story: LongStory, log: EventLog
) -> None:
    def grant(amount: int, **fields: Any) -> str:
        command = c.GrantCredits(customer_id="ada", amount=Credits(amount), **fields)
        return str(answer(story, command)["grant_id"])

    late = grant(100, source="top_up", cost_basis=Money(1_000, "USD"))
    soon = grant(20, source="top_up", expires_at=BEGINS_AT + DAY)
    monthly = grant(30, source="subscription", cost_basis=Money(333, "EUR"))
    grant(10, source="subscription", effective_at=BEGINS_AT + DAY)
    deduction = answer(story, c.DeductCredits(customer_id="ada", amount=Credits(70)))
    ref = ids.parse_event_id(ids.DEDUCTION, deduction["deduction_id"])
    assert ref is not None
    told = explain(log, ref)
    assert told is not None
    lots = [(lot["grant_id"], lot["amount"], lot["place"], lot["of"]) for lot in told["lots"]]
    assert lots == [(monthly, 30, 1, 3), (soon, 20, 2, 3), (late, 20, 3, 3)]
    assert [lot["cost"] for lot in told["lots"]] == [
        {"amount": 333, "currency": "EUR"},
        None,
        {"amount": 200, "currency": "USD"},
    ]
    why = [lot["why"] for lot in told["lots"]]
    assert why[0] == f"priority 10 is spent before 30 ({soon})"
    assert why[1] == f"it expires first, on {instant(BEGINS_AT + DAY)}; {late} never does"
    assert why[2] == "the last usable lot"


async def test_every_entry_of_a_long_story_can_be_explained(
    story: LongStory, log: EventLog
) -> None:
    story.go_on(800)
    for _, event in log.read(0, 100_000).events:
        ref = EventRef(event.originator_id, event.originator_version)
        told = explain(log, ref)
        if not isinstance(event, AccountEvent):
            assert told is None
            continue
        assert told is not None
        legs = (*getattr(event, "captured", ()), *getattr(event, "lots", ()))
        if legs:
            assert sum(lot["amount"] for lot in told["lots"]) == sum(leg.amount for leg in legs)
        assert all(lot["why"] for lot in told["lots"])
    assert explain(log, EventRef(ref.stream, 1_000_000)) is None


async def test_every_event_has_a_public_form(story: LongStory, log: EventLog) -> None:
    story.go_on(600)
    for position, event in log.read(0, 100_000).events:
        told = public_event(position, event)
        assert told["position"] == position
        assert told["event_id"].startswith("evt_")
        assert told["type"] == type(event).__name__
        assert told["recorded_at"].endswith("Z")
        if isinstance(event, AccountEvent):
            assert (told["customer_id"], told["asset"]) == (event.customer_id, event.asset)
            assert told["data"]["after"]["available"] == event.after.available
        assert "originator_id" not in told["data"]
