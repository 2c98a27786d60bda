"""Balances that are asked for together are read together, and each asker gets its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import psycopg_pool
import pytest

from api_server import Api, new_customer
from creditledger.api import balance_desk
from creditledger.api.balance_desk import BalanceDesk
from creditledger.infra.database import async_connection_pool
from creditledger.projections import balances


@pytest.fixture
async def desk(api: Api) -> AsyncIterator[BalanceDesk]:
    async with async_connection_pool(api.service.url, "tests", size=2) as reads:
        yield BalanceDesk(reads, lambda: datetime.now(UTC))


def with_credits(api: Api, **assets: int) -> str:
    """A customer with so much of each asset, as the read model shows it, too."""
    customer = new_customer()
    for asset, amount in assets.items():
        position = api.granted(customer, amount, asset=asset)["position"]
    api.http.get(f"/v1/customers/{customer}/balance", params={"after_position": position})
    return customer


def available(answer: dict[str, Any]) -> dict[str, int]:
    return {line["asset"]: line["available"] for line in answer["balances"]}


@pytest.mark.anyio
async def test_each_asker_gets_its_own(api: Api, desk: BalanceDesk) -> None:
    ada, bob = with_credits(api, credits=5, tokens=7), with_credits(api, credits=9)
    asked = [(ada, None), (ada, "tokens"), (bob, None), (ada, "none"), ("nobody", None), (bob, "x")]
    asked += [(ada, None)] * balance_desk._TOGETHER_MAX
    answers = await asyncio.gather(*(desk.balances(*each) for each in asked))
    assert [answer["customer_id"] for answer in answers] == [customer for customer, _ in asked]
    assert [available(answer) for answer in answers[:6]] == [
        {"credits": 5, "tokens": 7},
        {"tokens": 7},
        {"credits": 9},
        {"none": 0},
        {"credits": 0},
        {"x": 0},
    ]
    assert all(available(answer) == {"credits": 5, "tokens": 7} for answer in answers[6:])


@pytest.mark.anyio
async def test_it_is_the_answer_that_one_query_alone_gives(api: Api, desk: BalanceDesk) -> None:
    ada = with_credits(api, credits=5)
    asking = [desk.balances(ada, None), desk.balances("nobody", None)]
    together = (await asyncio.gather(*asking))[0]
    async with (
        async_connection_pool(api.service.url, "tests", size=1) as reads,
        reads.connection() as connection,
    ):
        alone = await balances.balances(connection, ada, datetime.now(UTC))
    assert together["balances"] == alone["balances"]
    assert together["position"] <= alone["position"]


@pytest.mark.anyio
async def test_who_goes_away_takes_nobody_along(api: Api, desk: BalanceDesk) -> None:
    ada = with_credits(api, credits=5)
    gone = asyncio.ensure_future(desk.balances(ada, None))
    stays = asyncio.ensure_future(desk.balances(ada, None))
    await asyncio.sleep(0)
    gone.cancel()
    assert available(await stays) == {"credits": 5}


@pytest.mark.anyio
async def test_all_who_wait_are_told_that_nobody_answers() -> None:
    reads = async_connection_pool("postgresql:///nothing?host=/nowhere", "tests", size=1)
    desk = BalanceDesk(reads, lambda: datetime.now(UTC))
    asking = (desk.balances("ada", None), desk.balances("bob", None))
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in told] == [psycopg_pool.PoolClosed] * 2
