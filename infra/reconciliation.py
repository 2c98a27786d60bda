"""Reconciliation: what a provider lists, and never delivered, comes in as a delivery all the same.

Each object becomes the event that would have told it, and goes onto the stream: from there it is
recorded, booked, parked, shown and replayed like any other. Its delivery id is derived from the
object and its state, so what was brought in once is not brought in again until it changes. What
webhooks have told before does no harm: the ledger books by the provider's own objects.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

import orjson

from creditledger.infra.database import Pool
from creditledger.infra.delivery import BODY_BYTES_MAX, Delivery, Stream, read_delivery
from creditledger.infra.event_log import reaching
from creditledger.infra.provider_lists import Listed, Lists, Passed, Window

#: How the provider's delivery id begins of what reconciliation brought in.
MARK: Final = "reconcile:"

_USER_AGENT: Final = "creditledger reconcile"

#: Objects that are held against the recorded deliveries at a time.
_BATCH: Final = 100

#: Enough that two states of one object never look alike.
_STATE_DIGITS: Final = 24

_KNOWN: Final = "SELECT delivery_id FROM webhook_deliveries WHERE delivery_id = ANY(%s)"

# For each object that may come back to a state: the newest delivery that brought it in, or the
# newest that a webhook told of its kind and key, whichever came later. The condition on the type
# is that of an index.
_NEWEST: Final = """
    SELECT wanted.prefix, newest.provider_delivery_id, newest.sequence
    FROM unnest(%(stream_keys)s::text[], %(prefixes)s::text[]) AS wanted (stream_key, prefix)
    CROSS JOIN LATERAL (
        SELECT provider_delivery_id, sequence
        FROM webhook_deliveries AS told
        WHERE told.stream_key = wanted.stream_key
          AND (told.type LIKE 'customer.subscription.%%'
               OR told.type LIKE 'price.%%' OR told.type LIKE 'product.%%')
          AND (starts_with(told.provider_delivery_id, wanted.prefix)
               OR NOT starts_with(told.provider_delivery_id, %(mark)s))
        ORDER BY told.sequence DESC
        LIMIT 1
    ) AS newest
"""

_STATUSES: Final = "SELECT delivery_id, status FROM webhook_deliveries WHERE delivery_id = ANY(%s)"


@dataclass(slots=True)
class Tally:
    """What a run has done so far, kind by kind."""

    read: Counter[str] = field(default_factory=Counter)
    #: The ids of the deliveries that were new.
    brought: dict[str, list[str]] = field(default_factory=dict)
    passed: list[Passed] = field(default_factory=list)


def reconcile(
    lists: Lists,
    window: Window,
    *,
    stream: Stream,
    pool: Pool,
    now: Callable[[], datetime],
    tally: Tally,
    dry_run: bool = False,
    progress: Callable[[Tally], None] = lambda _: None,
) -> None:
    """Bring in what a provider lists of a window and is not known, or say only what that would be.

    `tally` is kept all the while, `progress` is told of it now and then. An object that cannot be
    read is named in the tally, and the others go on. Raises ProviderRefused, ProviderAway,
    Stopped, and Unavailable where the database or the stream cannot be reached.
    """
    for batch in _batches(lists.read(window)):
        listed = []
        for found in batch:
            if isinstance(found, Passed):
                tally.passed.append(found)
            else:
                tally.read[found.kind] += 1
                listed.append(found)
        for found, delivery in _new(lists, listed, pool, now()):
            if len(delivery.body) > BODY_BYTES_MAX:
                detail = f"it has {len(delivery.body)} bytes, {BODY_BYTES_MAX} at most are kept"
                name = str(found.object["id"])
                tally.passed.append(Passed(kind=found.kind, name=name, detail=detail))
                continue
            if not dry_run:
                stream.put(delivery)
            tally.brought.setdefault(found.kind, []).append(delivery.delivery_id)
        progress(tally)


def standing(pool: Pool, tally: Tally) -> dict[str, Counter[str]]:
    """How what was brought in stands by now, kind by kind; `received` is still to be tried.

    Raises Unavailable.
    """
    wanted = [delivery_id for brought in tally.brought.values() for delivery_id in brought]
    with reaching(pool) as connection:
        statuses: dict[str, str] = dict(connection.execute(_STATUSES, (wanted,)).fetchall())
    # What is not recorded yet is still on its way through the stream.
    return {
        kind: Counter(statuses.get(delivery_id, "received") for delivery_id in brought)
        for kind, brought in tally.brought.items()
    }


def _batches(found: Iterator[Listed | Passed]) -> Iterator[list[Listed | Passed]]:
    while batch := list(islice(found, _BATCH)):
        yield batch


def _new(
    lists: Lists, listed: Sequence[Listed], pool: Pool, now: datetime
) -> Iterator[tuple[Listed, Delivery]]:
    """Those that are not recorded in this state, as deliveries."""
    deliveries = {}
    for found in listed:
        name = f"{_prefix(found)}{_state(found.object)}"
        delivery = _delivery(lists, found, name, now)
        # Of an object that is listed twice, the later reading.
        deliveries[delivery.delivery_id] = (found, delivery)
    with reaching(pool) as connection:
        rows = connection.execute(_KNOWN, (list(deliveries),)).fetchall()
    known = {row[0] for row in rows}
    recurring = {
        _prefix(found): delivery for found, delivery in deliveries.values() if found.recurs
    }
    newest = _newest(pool, recurring)
    for delivery_id, (found, delivery) in deliveries.items():
        if not found.recurs:
            if delivery_id not in known:
                yield found, delivery
            continue
        told, sequence = newest.get(_prefix(found), ("", 0))
        # Other news came since it was brought in: it may be back from another state.
        if not told.startswith(delivery.provider_delivery_id):
            name = f"{delivery.provider_delivery_id}:{sequence}"
            yield found, _delivery(lists, found, name, now)


def _newest(pool: Pool, recurring: Mapping[str, Delivery]) -> dict[str, tuple[str, int]]:
    if not recurring:
        return {}
    values = {
        "stream_keys": [delivery.stream_key for delivery in recurring.values()],
        "prefixes": list(recurring),
        "mark": MARK,
    }
    with reaching(pool) as connection:
        rows = connection.execute(_NEWEST, values).fetchall()
    return {prefix: (told, sequence) for prefix, told, sequence in rows}


def _prefix(found: Listed) -> str:
    return f"{MARK}{found.object['id']}:"


def _delivery(lists: Lists, found: Listed, name: str, now: datetime) -> Delivery:
    body = orjson.dumps(lists.envelope(found, name))
    # Polar's events carry their id in a header, Stripe's in themselves.
    headers = {"content-type": "application/json", "user-agent": _USER_AGENT, "webhook-id": name}
    return read_delivery(lists.provider, body, headers, now)


def _state(listed: Mapping[str, Any]) -> str:
    """What an object says, in a few characters."""
    content = orjson.dumps(_without_links(listed), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()[:_STATE_DIGITS]


def _without_links(value: Any) -> Any:
    """Links are made anew with each reading, and say nothing."""
    if isinstance(value, dict):
        return {
            name: _without_links(part)
            for name, part in value.items()
            if not (isinstance(part, str) and part.startswith("https://"))
        }
    return [_without_links(part) for part in value] if isinstance(value, list) else value
