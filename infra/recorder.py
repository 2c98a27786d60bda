"""The log behind the `eventsourcing` library's own interface.

It lets the library's applications, notification logs and subscriptions read what the ledger has
written, and write beside it, in the same order and by the same function. For an application named
`ledger`, set

    PERSISTENCE_MODULE=eventsourcing.postgres
    APPLICATION_RECORDER_TOPIC=creditledger.infra.recorder:LedgerRecorder
    MAPPER_TOPIC=creditledger.infra.mapper:LedgerMapper
    CREATE_TABLE=n
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from eventsourcing.persistence import ProgrammingError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import sql

EVENTS_TABLE: Final = "ledger_events"

# Events alone: no receipts, and nothing expected but what the primary key says.
_APPEND: Final = sql.SQL("""
    SELECT {append}(%b::uuid[], %b::bigint[], %b::text[], %b::timestamptz[], %b::bytea[],
                    '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}',
                    '{{}}', '{{}}', '{{}}') AS base
""")


class LedgerRecorder(PostgresApplicationRecorder):
    """The library's recorder of `ledger_events`; its tables come from the migrations.

    Raises ProgrammingError where it is asked for another table, to create tables, for ids that
    are texts, or for the library's own database functions, with which readers miss events.
    """

    def __init__(
        self, datastore: PostgresDatastore, *, events_table_name: str = EVENTS_TABLE
    ) -> None:
        if events_table_name != EVENTS_TABLE:
            raise ProgrammingError(
                f"the log is in {EVENTS_TABLE}, not in {events_table_name}: name the application"
                " `ledger`"
            )
        if datastore.originator_id_type != "uuid":
            raise ProgrammingError("streams have UUIDs: unset ORIGINATOR_ID_TYPE")
        if datastore.enable_db_functions:
            raise ProgrammingError("readers would miss events: unset POSTGRES_ENABLE_DB_FUNCTIONS")
        super().__init__(datastore, events_table_name=events_table_name)
        append = sql.Identifier(datastore.schema, "creditledger_append")
        self._append = _APPEND.format(append=append).as_bytes()

    def create_table(self) -> None:
        """Refuse: the tables come from `creditledger migrate`."""
        raise ProgrammingError("the log's tables come from its migrations: set CREATE_TABLE=n")

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append these events and return their positions.

        Where the library would try again after a lost connection, this raises OperationalError:
        whether the events are stored is not known then. Raises IntegrityError where a version
        exists, and TypeError where a keyword is given, because none is known.
        """
        if kwargs:
            raise TypeError(f"unknown keywords: {', '.join(sorted(kwargs))}")
        if not stored_events:
            return None
        now = datetime.now(UTC)
        values = (
            [event.originator_id for event in stored_events],
            [event.originator_version for event in stored_events],
            [event.topic for event in stored_events],
            [getattr(event, "recorded_at", now) for event in stored_events],
            [event.state for event in stored_events],
        )
        with self.datastore.get_connection() as connection:
            row = connection.execute(self._append, values).fetchone()
        assert row is not None
        return list(range(row["base"] + 1, row["base"] + 1 + len(stored_events)))
