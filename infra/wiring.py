"""The one place where the parts are put together, from the settings.

`serve`, `work`, the other commands and the tests build the service here and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from creditledger.domain.ledger import Ledger
from creditledger.domain.policies import Policies
from creditledger.domain.store import Unavailable
from creditledger.infra.clients import Authenticator
from creditledger.infra.database import AsyncPool, Pool, async_connection_pool, connection_pool
from creditledger.infra.delivery import Stream
from creditledger.infra.embedded_postgres import embedded_postgres, has_data, running_postgres
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.group_commit import Commit, GroupCommit
from creditledger.infra.kafka_stream import KafkaStream
from creditledger.infra.lulls import Lulls
from creditledger.infra.migrate import pending
from creditledger.infra.postgres_stream import PostgresStream
from creditledger.infra.settings import Settings
from creditledger.infra.warm_up import warm_up

_LOG = logging.getLogger(__name__)

#: The writer is one thread; its connections are its own, so that no reader can keep it waiting.
_WRITER_CONNECTIONS: Final = 2


class NoDatabase(Exception):
    """There is no database to work with, or it is not ready for this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """All that a process of the service works with.

    `pool` serves threads; `reads` serves one event loop, which opens and closes it. Everything
    that changes the ledger goes through `writer`. `now` is its clock.
    """

    settings: Settings
    url: str
    pool: Pool
    reads: AsyncPool
    log: EventLog
    store: PostgresLedgerStore
    writer: GroupCommit
    stream: Stream
    authenticator: Authenticator
    now: Callable[[], datetime]


@contextmanager
def service(
    settings: Settings,
    url: str,
    *,
    name: str = "creditledger",
    now: Callable[[], datetime] | None = None,
    observe: Callable[[Commit], None] | None = None,
    warm: bool = False,
) -> Iterator[Service]:
    """The parts, running on a migrated database until the block ends.

    `name` is what PostgreSQL shows of the connections; `now` is the clock, that of the machine
    where none is given; `observe` is told of each transaction of the writer. A `warm` one begins
    with the accounts used last at hand, which takes up to two seconds.
    """
    size = settings.read_pool_size
    pool = connection_pool(url, name, size=size)
    writing = connection_pool(url, f"{name} writer", size=_WRITER_CONNECTIONS)
    reads = async_connection_pool(url, name, size=size)
    now = now or machine_clock
    lulls = Lulls()
    with pool, writing:
        ledger = Ledger(
            PostgresLedgerStore(writing, lulls=lulls),
            now=now,
            policies=policies(settings),
            cache_limit=settings.account_cache_limit,
        )
        log = EventLog(pool)
        if warm:
            warm_up(ledger, log, most=settings.account_cache_limit)
        stream = open_stream(settings, url, pool)
        try:
            with GroupCommit(
                ledger,
                queue_limit=settings.write_queue_limit,
                batch_limit=settings.write_batch_limit,
                observe=observe,
                lulls=lulls,
            ) as writer:
                yield Service(
                    settings=settings,
                    url=url,
                    pool=pool,
                    reads=reads,
                    log=log,
                    store=PostgresLedgerStore(pool),
                    writer=writer,
                    stream=stream,
                    authenticator=Authenticator(reads),
                    now=now,
                )
        finally:
            stream.close()


def open_stream(settings: Settings, url: str, pool: Pool) -> Stream:
    """An end of the stream of deliveries: on Kafka where one is set, in the database otherwise.

    Brokers that are away are no reason not to start: deliveries are answered 503 until they are
    back. Raises NoTopic where they are there and have no topic for us.
    """
    if settings.kafka_bootstrap_servers is None:
        return PostgresStream(url, pool)
    stream = KafkaStream(settings, url, pool)
    try:
        stream.require_topics()
    except Unavailable as error:
        _LOG.warning("webhooks are not taken for now: %s", error)
    return stream


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The address of the database, for a command that may come at any time.

    That is the configured one, or the embedded one: it is started for the block where it does not
    run. Raises EmbeddedPostgresFailed.
    """
    found = settings.database_url or running_postgres(settings.data_dir)
    if found is not None:
        yield found
    else:
        with embedded_postgres(settings.data_dir) as url:
            yield url


def require_data(settings: Settings) -> None:
    """Raises NoDatabase where the embedded PostgreSQL is meant and was never run in its folder."""
    if settings.database_url is None and not has_data(settings.data_dir):
        raise NoDatabase(
            f"there is no ledger in {settings.data_dir}: start one with `make run` or `creditledger"
            " up`, or set CREDITLEDGER_DATA_DIR to the folder of one, or CREDITLEDGER_DATABASE_URL"
        )


def ready_database(settings: Settings) -> str:
    """The address of a database that is up and migrated. Raises NoDatabase, MigrationRefused."""
    url = settings.database_url or running_postgres(settings.data_dir)
    if url is None:
        raise NoDatabase(
            "set CREDITLEDGER_DATABASE_URL to a PostgreSQL of yours, or run `creditledger up`,"
            " which starts the embedded one and both processes of the service"
        )
    require_migrated(url)
    return url


def require_migrated(url: str) -> None:
    """Raises NoDatabase where this version expects other tables, MigrationRefused where newer."""
    if missing := pending(url):
        raise NoDatabase(
            f"the database lacks the steps {', '.join(missing)}; run `creditledger migrate`"
        )


def policies(settings: Settings) -> Policies:
    """The ledger's policies as they are set."""
    return Policies(
        hold_expires_in_default=settings.hold_expires_in_default,
        refund_grace=timedelta(days=settings.refund_grace_days),
        revocation_policy=settings.revocation_policy,
    )


def machine_clock() -> datetime:
    """The time of this machine, in UTC."""
    return datetime.now(UTC)
