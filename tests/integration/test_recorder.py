"""The library's own test cases for recorders pass on our log, and its applications read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import IntegrityError, ProgrammingError, StoredEvent
from eventsourcing.postgres import PostgresDatastore
from eventsourcing.tests import persistence as library
from psycopg.conninfo import conninfo_to_dict

from creditledger.domain.events import Deducted
from creditledger.infra.database import conninfo
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.infra.mapper import LedgerMapper
from creditledger.infra.recorder import LedgerRecorder
from log_story import account, deducted, history, moment, pool_for


def datastore(url: str, **settings: Any) -> PostgresDatastore:
    """The library's pool of connections to a database."""
    parts = conninfo_to_dict(url)
    return PostgresDatastore(
        dbname=str(parts["dbname"]),
        host=str(parts["host"]),
        port=parts.get("port") or "5432",
        user=str(parts["user"]),
        password=str(parts.get("password") or ""),
        **{"pool_size": 5, "max_overflow": 15, **settings},
    )


class _OnOurLog:
    """What the library's cases need: a recorder of an empty log for each test."""

    @pytest.fixture(autouse=True)
    def _databases(self, new_database_url: Callable[[], str]) -> Iterator[None]:
        self._datastores: list[PostgresDatastore] = []
        self._new_database_url = new_database_url
        yield
        for opened in self._datastores:
            opened.close()

    def create_recorder(self) -> LedgerRecorder:
        self._datastores.append(datastore(self._new_database_url()))
        return LedgerRecorder(self._datastores[-1])


# Its optional case of subscriptions is left out: it waits for ever where the library begins to
# listen after the event that should wake it.
class TestApplicationRecorder(_OnOurLog, library.ApplicationRecorderTestCase[LedgerRecorder]):
    pass


class TestNonInterleaving(_OnOurLog, library.NonInterleavingNotificationIDsBaseCase):
    pass


# The library's abstract cases must not be collected for themselves.
del library


@pytest.fixture
def recorder(database_url: str) -> Iterator[LedgerRecorder]:
    with datastore(database_url) as store:
        yield LedgerRecorder(store)


def stored(version: int = 1, stream: UUID | None = None) -> StoredEvent:
    return StoredEvent(stream or uuid4(), version, "topic", b"state")


def test_unknown_keywords_are_an_error(recorder: LedgerRecorder) -> None:
    with pytest.raises(TypeError, match="idempotency_key"):
        recorder.insert_events([stored()], idempotency_key="k")
    assert recorder.max_notification_id() is None


def test_a_version_that_exists_is_an_integrity_error_and_leaves_no_gap(
    recorder: LedgerRecorder,
) -> None:
    event = stored()
    assert recorder.insert_events([event]) == [1]
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(), event])
    assert recorder.insert_events([stored(), stored()]) == [2, 3]


def test_the_library_may_not_make_the_tables(recorder: LedgerRecorder) -> None:
    with pytest.raises(ProgrammingError, match="CREATE_TABLE=n"):
        recorder.create_table()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"enable_db_functions": True}, "POSTGRES_ENABLE_DB_FUNCTIONS"),
        ({"originator_id_type": "text"}, "ORIGINATOR_ID_TYPE"),
    ],
)
def test_settings_that_would_harm_the_log_are_refused(
    database_url: str, settings: dict[str, Any], reason: str
) -> None:
    with (
        datastore(database_url, **settings) as store,
        pytest.raises(ProgrammingError, match=reason),
    ):
        LedgerRecorder(store)


def test_the_log_is_in_one_table(database_url: str) -> None:
    with datastore(database_url) as store, pytest.raises(ProgrammingError, match="stored_events"):
        LedgerRecorder(store, events_table_name="stored_events")


class Ledger(Application[UUID]):
    name = "ledger"


@pytest.fixture
def application(database_url: str) -> Iterator[Ledger]:
    parts = conninfo_to_dict(conninfo(database_url, "tests"))
    app = Ledger(
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "APPLICATION_RECORDER_TOPIC": "creditledger.infra.recorder:LedgerRecorder",
            "MAPPER_TOPIC": "creditledger.infra.mapper:LedgerMapper",
            "CREATE_TABLE": "n",
            "POSTGRES_DBNAME": str(parts["dbname"]),
            "POSTGRES_HOST": str(parts["host"]),
            "POSTGRES_PORT": str(parts.get("port") or "5432"),
            "POSTGRES_USER": str(parts["user"]),
            "POSTGRES_PASSWORD": str(parts.get("password") or ""),
        }
    )
    yield app
    app.close()


def test_an_application_of_the_library_reads_what_the_ledger_wrote(
    application: Ledger, database_url: str
) -> None:
    with pool_for(database_url) as pool:
        PostgresLedgerStore(pool).append(history("ada", last=12) + history("bob", last=1), [], [])
    assert list(application.events.get(account("ada"))) == history("ada", last=12)
    section = application.notification_log["11,20"]
    assert [item.id for item in section.items] == [11, 12, 13]
    assert application.mapper.to_domain_event(section.items[2]) == deducted("bob", 1)


def test_a_subscription_of_the_library_is_woken_by_the_ledger(
    application: Ledger, database_url: str
) -> None:
    with pool_for(database_url) as pool, ThreadPoolExecutor(1) as threads:
        store = PostgresLedgerStore(pool)
        store.append([deducted("ada", 1)], [], [])
        with application.recorder.subscribe(gt=0, topics=[Deducted.TOPIC]) as subscription:
            first = next(subscription)
            waiting = threads.submit(next, subscription)
            version = 1
            # The library may begin to listen after an event, which the next one makes good.
            while not waiting.done():
                version += 1
                store.append([deducted("ada", version)], [], [])
                wait([waiting], timeout=0.2)
            second = waiting.result()
    assert [(n.id, n.originator_version) for n in (first, second)] == [(1, 1), (2, 2)]


def test_what_the_library_writes_the_ledger_reads(application: Ledger, database_url: str) -> None:
    application.events.put(history("ada", last=2))
    with pool_for(database_url) as pool:
        store = PostgresLedgerStore(pool)
        assert store.append([deducted("ada", 3)], [], []) == 2
        assert store.load([account("ada")])[account("ada")].events == history("ada", last=3)
        with pool.connection() as connection:
            times = connection.execute(
                "SELECT recorded_at FROM ledger_events ORDER BY notification_id"
            ).fetchall()
    assert times == [(moment(version),) for version in (1, 2, 3)]


def test_the_mapper_of_the_application_is_ours(application: Ledger) -> None:
    assert isinstance(application.mapper, LedgerMapper)
