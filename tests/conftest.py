"""PostgreSQL and Kafka for every test that wants them, started where none is given.

The PostgreSQL is the embedded one, or that of CREDITLEDGER_TEST_DATABASE_URL (its user must be
allowed to create databases); each test has a database of its own. The Kafka is a broker from Maven
Central, or that of CREDITLEDGER_TEST_KAFKA; each test has topics of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import hypothesis
import pytest
from psycopg import sql

from creditledger.infra.database import connect
from creditledger.infra.embedded_postgres import embedded_postgres
from creditledger.infra.migrate import migrate
from creditledger.infra.settings import PREFIX, Settings
from kafka_broker import some_broker
from quick_folder import quick_folder

# How long an example takes says how busy the machine is, and nothing of the product.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

# The suite depends on nobody's settings.
Settings.model_config["env_file"] = None
for _name in [name for name in os.environ if name.startswith(PREFIX)]:
    if not _name.startswith(f"{PREFIX}TEST_"):
        del os.environ[_name]

#: The suite never pulls the plug, so it need not wait for the disk.
UNSYNCED = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests (marked `anyio`) run on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The address of a broker; tests of it are skipped, or fail, where there is none."""
    with some_broker() as address:
        yield address


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of a server where databases may be created."""
    if url := os.environ.get("CREDITLEDGER_TEST_DATABASE_URL"):
        yield url
        return
    with (
        quick_folder("creditledger-test-") as folder,
        embedded_postgres(folder, UNSYNCED) as url,
    ):
        yield url


@pytest.fixture(scope="session")
def _template(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database that others are copied from."""
    with _database(postgres_url) as url:
        migrate(url)
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def new_database_url(postgres_url: str, _template: str) -> Iterator[Callable[[], str]]:
    """Makes fresh migrated databases, for tests that need more than one."""
    names: list[str] = []

    def make() -> str:
        names.append(_create(postgres_url, template=_template))
        return _with_database(postgres_url, names[-1])

    yield make
    for name in names:
        _drop(postgres_url, name)


@pytest.fixture
def database_url(new_database_url: Callable[[], str]) -> str:
    """The address of a fresh, migrated database."""
    return new_database_url()


@pytest.fixture(scope="module")
def shared_database_url(postgres_url: str, _template: str) -> Iterator[str]:
    """The address of a migrated database that the tests of one module share."""
    name = _create(postgres_url, template=_template)
    yield _with_database(postgres_url, name)
    _drop(postgres_url, name)


@pytest.fixture
def copied_database_url(postgres_url: str, shared_database_url: str) -> Iterator[str]:
    """The address of a copy of the module's database; nobody may be connected to that."""
    name = _create(postgres_url, template=urlsplit(shared_database_url).path.removeprefix("/"))
    yield _with_database(postgres_url, name)
    _drop(postgres_url, name)


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """The address of a fresh database without any table."""
    with _database(postgres_url) as url:
        yield url


@contextmanager
def _database(server: str) -> Iterator[str]:
    name = _create(server, template="template0")
    try:
        yield _with_database(server, name)
    finally:
        _drop(server, name)


def _create(server: str, *, template: str) -> str:
    name = f"creditledger_test_{uuid4().hex}"
    with connect(server, "tests") as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return name


def _drop(server: str, name: str) -> None:
    with connect(server, "tests") as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
