"""Reconciliation on a schedule: one process at a time for each provider whose key is set.

What fails is logged, recorded and tried again; nothing else depends on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from threading import Event
from typing import Final

from creditledger.domain.provider_commands import Provider
from creditledger.domain.store import Unavailable
from creditledger.infra.database import Pool, connect
from creditledger.infra.delivery import Stream
from creditledger.infra.event_log import trouble_as_unavailable
from creditledger.infra.provider_lists import (
    Lists,
    Patience,
    ProviderAway,
    ProviderRefused,
    Stopped,
)
from creditledger.infra.reconciliation import Tally, reconcile
from creditledger.infra.reconciliation_record import Record
from creditledger.infra.settings import Settings

_LOG = logging.getLogger(__name__)

_PROVIDERS: Final[tuple[Provider, ...]] = ("stripe", "polar")

#: How often it is looked whether a run is due.
_LOOK_SECONDS: Final = 60.0

# Whoever holds this lock reconciles this schema's ledger with the provider.
_TRY_LOCK: Final = """
    SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '/reconcile/' || %s, 0))
"""


class NoKey(Exception):
    """There is no key for a provider's API."""


@contextmanager
def lists_of(
    provider: Provider, settings: Settings, *, patience: Patience, now: Callable[[], datetime]
) -> Iterator[Lists]:
    """A provider's lists with the key that is set. Raises NoKey."""
    # The providers' libraries take half a second to import: only who has a key waits for them.
    lists: Lists
    if provider == "stripe":
        if settings.stripe_api_key is None:
            raise NoKey(
                "set CREDITLEDGER_STRIPE_API_KEY to a key that may read products, prices,"
                " customers, invoices, Checkout Sessions, PaymentIntents, charges, refunds,"
                " disputes and subscriptions"
            )
        from creditledger.infra.stripe_lists import StripeLists  # noqa: PLC0415

        lists = StripeLists(
            settings.stripe_api_key.get_secret_value(),
            livemode=settings.stripe_environment == "production",
            patience=patience,
            now=now,
        )
    else:
        if settings.polar_access_token is None:
            raise NoKey(
                "set CREDITLEDGER_POLAR_ACCESS_TOKEN to an organization's access token with the"
                " scopes orders:read, refunds:read, disputes:read and subscriptions:read"
            )
        from creditledger.infra.polar_lists import PolarLists  # noqa: PLC0415

        token = settings.polar_access_token.get_secret_value()
        lists = PolarLists(token, settings.polar_environment, patience=patience, now=now)
    with closing(lists):
        yield lists


def reconcile_until(
    stop: Event,
    settings: Settings,
    url: str,
    pool: Pool,
    stream: Stream,
    *,
    now: Callable[[], datetime],
    look_seconds: float = _LOOK_SECONDS,
) -> None:
    """Reconcile each provider whose key is set, again and again until `stop` is set.

    Never raises: what fails is logged and tried again.
    """
    keys = {"stripe": settings.stripe_api_key, "polar": settings.polar_access_token}
    providers = [provider for provider in _PROVIDERS if keys[provider] is not None]
    if settings.reconcile_interval_hours == 0 or not providers:
        stop.wait()
    while not stop.wait(look_seconds):
        for provider in providers:
            try:
                with _alone(url, provider) as alone:
                    if alone:
                        _run_if_due(provider, stop, settings, pool, stream, now=now)
            except (ProviderRefused, ProviderAway, Unavailable) as error:
                _LOG.warning("%s is not reconciled: %s", provider, error)
            except Stopped:
                return
            except Exception:  # noqa: BLE001 - the worker has other jobs to go on with
                _LOG.exception("%s is not reconciled", provider)


def _run_if_due(
    provider: Provider,
    stop: Event,
    settings: Settings,
    pool: Pool,
    stream: Stream,
    *,
    now: Callable[[], datetime],
) -> None:
    record = Record(pool, provider, settings.environment_of(provider), now=now)
    progress, until = record.progress(), now()
    if not progress.is_due(until, timedelta(hours=settings.reconcile_interval_hours)):
        return
    tally, window = Tally(), progress.window(until)
    with (
        record.run(window, tally),
        lists_of(provider, settings, patience=Patience(stop), now=now) as lists,
    ):
        reconcile(lists, window, stream=stream, pool=pool, now=now, tally=tally)
    for passed in tally.passed:
        _LOG.warning(
            "%s: %s of the %s cannot be read: %s",
            *(provider, passed.name, passed.kind, passed.detail),
        )
    brought = sum(map(len, tally.brought.values()))
    _LOG.info("%s is reconciled: %d read, %d new", provider, tally.read.total(), brought)


@contextmanager
def _alone(url: str, provider: Provider) -> Iterator[bool]:
    """Whether this process alone reconciles the provider, until the block ends."""
    with trouble_as_unavailable(), connect(url, "creditledger reconcile") as connection:
        row = connection.execute(_TRY_LOCK, (provider,)).fetchone()
        yield row is not None and bool(row[0])
