"""Warming up: a process has what was used last at hand before it takes its first command.

It would load each account with the first command about it, and keep callers, and other processes
that take turns with it, waiting for that (docs/decisions/0021-snapshots.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from creditledger.domain.ledger import Ledger
from creditledger.domain.store import Unavailable
from creditledger.infra.event_log import EventLog

_LOG = logging.getLogger(__name__)

#: The newest events, whose accounts are those in use: some seconds of a busy ledger.
EVENTS: Final = 50_000

#: A start takes no longer for this: accounts with thousands of lots are slow to load.
SECONDS_MAX: Final = 2.0

#: Accounts that are loaded at once.
_ACCOUNTS_AT_ONCE: Final = 200


def warm_up(
    ledger: Ledger, log: EventLog, *, most: int, clock: Callable[[], float] = monotonic
) -> int:
    """Load up to so many of the accounts used last, as long as there is time; return how many.

    What cannot be loaded costs time later and nothing else. `clock` tells seconds.
    """
    deadline = clock() + SECONDS_MAX
    loaded = 0
    try:
        accounts = log.accounts_in_use(events=EVENTS, most=most)
    except Unavailable:
        return 0
    for first in range(0, len(accounts), _ACCOUNTS_AT_ONCE):
        if clock() > deadline:
            break
        some = accounts[first : first + _ACCOUNTS_AT_ONCE]
        try:
            ledger.have_at_hand(some)
        except Exception:  # noqa: BLE001 - whoever needs what cannot be loaded is told why
            _LOG.debug("some of %d accounts cannot be loaded", len(some), exc_info=True)
        else:
            loaded += len(some)
    return loaded
