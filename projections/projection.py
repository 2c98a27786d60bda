"""What every read model is: a name, its tables, and how events become rows.

One module holds one read model: its tables' names, its handlers and its queries. Handlers work on
sets: thousands of events come at once, are summed up in memory, and reach the database in a few
statements. The runner saves the rows and the checkpoint in one transaction, so each event counts
exactly once. Everything in a read model can be made again from the log.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Final

import msgspec
from psycopg import Cursor

from creditledger.domain.billing import BILLING_EVENTS
from creditledger.domain.events import ACCOUNT_EVENTS, TRAIL_EVENTS, Event
from creditledger.domain.link import LINK_EVENTS
from creditledger.domain.payment_events import PAYMENT_EVENTS
from creditledger.domain.price import PRICE_EVENTS
from creditledger.domain.product import PRODUCT_EVENTS
from creditledger.domain.subscription import SUBSCRIPTION_EVENTS
from creditledger.projections.copying import CopiedTable, Packed

#: An event and its position in the log.
Recorded = tuple[int, Event]

#: What a read model of accounts alone ignores.
BESIDE_ACCOUNTS: Final[tuple[type[Event], ...]] = (
    *TRAIL_EVENTS,
    *PAYMENT_EVENTS,
    *BILLING_EVENTS,
    *SUBSCRIPTION_EVENTS,
    *PRICE_EVENTS,
    *PRODUCT_EVENTS,
    *LINK_EVENTS,
)


def all_but(*handled: type[Event]) -> tuple[type[Event], ...]:
    """What a read model ignores that handles only these."""
    return tuple(kind for kind in (*ACCOUNT_EVENTS, *BESIDE_ACCOUNTS) if kind not in handled)


class UnknownEvent(Exception):
    """An event is of a class that the projection neither handles nor ignores."""


class Projection(ABC):
    """One read model's way of keeping up with the log.

    `version` is raised when rows that were built before are no longer right: the runner then
    stops the projection until it is rebuilt. `handles` and `ignores` list event classes and
    together must cover every event: one in neither stops the projection, so that nothing is
    passed over by accident. Where every row follows from the events of one stream alone, and has
    its id, `stream_column` names the column: a proof then goes stream by stream.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]]
    stream_column: ClassVar[str | None] = None
    handles: ClassVar[tuple[type[Event], ...]]
    ignores: ClassVar[tuple[type[Event], ...]] = ()

    @abstractmethod
    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Write what these events, in order of position and all of `handles`, do to the rows.

        Statements name the tables without a schema: in a rebuild they stand in another one.
        """

    def concerning(self, events: Sequence[Recorded]) -> Sequence[Recorded]:
        """Those of the events that this projection handles. Raises UnknownEvent."""
        kinds = {type(event) for _, event in events}
        concerned = self.concerned(kinds)
        if concerned == kinds:
            return events
        return [each for each in events if type(each[1]) in concerned] if concerned else ()

    def concerned(self, kinds: AbstractSet[type[Event]]) -> frozenset[type[Event]]:
        """Those of the classes of events that this projection handles. Raises UnknownEvent."""
        handled = kinds & frozenset(self.handles)
        for kind in kinds - handled - frozenset(self.ignores):
            raise UnknownEvent(
                f"the projection {self.name} neither handles nor ignores "
                f"{kind.__name__}: list it in one of the two"
            )
        return frozenset(handled)


class AppendedProjection(Projection):
    """A read model whose rows each follow from one event, and are only ever added.

    Nobody looks at those that are there: a rebuild gives the tables their indexes when they are
    full. All tables are copied into, so that a proof may compare bytes; only where those differ
    it looks at rows.
    """

    stream_column: ClassVar[str]

    @abstractmethod
    def rows(self, events: Sequence[Recorded]) -> Iterable[tuple[CopiedTable, Sequence[Packed]]]:
        """The rows of these events for each of the `tables`, packed."""

    def handle(self, cursor: Cursor[Any], events: Sequence[Recorded]) -> None:
        """Add the rows."""
        for table, rows in self.rows(events):
            if rows:
                table.add(cursor, rows)


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as one parameter for `json_populate_recordset`: the cheapest way to send thousands.

    Keys are column names; a column that is missing is NULL; lists and dicts suit jsonb columns.
    """
    return msgspec.json.encode(rows).decode()
