"""What tests of several modules stand on; where a module makes its own, it says what is special."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api_server import Api, running_api
from creditledger.infra.database import Pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.settings import Settings
from kafka_broker import kafka_settings
from log_story import pool_for
from long_story import LongStory
from loopback import serving
from polar_server import Polar
from provider_bodies import PRICES
from stripe_server import Stripe
from webhook_caller import Caller, calling
from webhook_desk import Desk, open_desk

# A log in a database of the test's own.


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    with pool_for(database_url) as pool:
        yield pool


@pytest.fixture
def store(pool: Pool) -> PostgresLedgerStore:
    return PostgresLedgerStore(pool)


@pytest.fixture
def log(pool: Pool) -> EventLog:
    return EventLog(pool)


@pytest.fixture
def story(pool: Pool) -> LongStory:
    """A story that has yet to begin."""
    return LongStory(PostgresLedgerStore(pool))


# The service.


@pytest.fixture(scope="module")
def api(shared_database_url: str) -> Iterator[Api]:
    """The API with its projections, for all tests of a module."""
    with running_api(shared_database_url) as api:
        yield api


@pytest.fixture
def caller(database_url: str) -> Iterator[Caller]:
    """The API alone: deliveries are kept, and nobody works them off."""
    with calling(database_url, working=False) as caller:
        yield caller


@pytest.fixture
def working(database_url: str) -> Iterator[Caller]:
    """The API with everything behind it."""
    with calling(database_url, working=True) as caller:
        yield caller


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    """A desk at which no price is known."""
    with open_desk(database_url) as desk:
        yield desk


@pytest.fixture
def priced(desk: Desk) -> Desk:
    """A desk at which all prices are known."""
    desk.wish(*PRICES)
    return desk


@pytest.fixture(params=["postgres", "kafka"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Settings with the one stream of deliveries, and with the other."""
    if request.param == "kafka":
        return kafka_settings(request.getfixturevalue("kafka"))
    return Settings()


# The providers.


@pytest.fixture
def polar() -> Iterator[Polar]:
    with serving(Polar()) as polar:
        yield polar


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    with serving(Stripe()) as stripe:
        yield stripe
