"""The threads that work off deliveries until they are told to stop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from threading import Event, Thread
from time import monotonic
from typing import Final

from pydantic import SecretStr

from creditledger.consumers import stripe_lines
from creditledger.consumers.lookups import LineItems, LookUps
from creditledger.consumers.runner import Runner
from creditledger.domain.store import Unavailable
from creditledger.infra import deliveries
from creditledger.infra.database import Pool
from creditledger.infra.delivery import Stream, Taken
from creditledger.infra.parking import Parking
from creditledger.infra.stripe_api import StripeApi
from creditledger.infra.wiring import Service, open_stream

_LOG = logging.getLogger(__name__)

#: How long to wait for a delivery before looking whether a parked one can be tried again.
WAIT_SECONDS: Final = 0.5

#: How long to wait before trying to reach the stream again.
RECONNECT_SECONDS: Final = 1.0

CLEAN_SECONDS: Final = 3600.0

#: One translates while another waits for the ledger's commit.
WORKERS: Final = 2

#: Deliveries in one worker's hands: enough to share a commit, few enough that those which come
#: again after a crash are soon tried again.
BATCH: Final = 200


def work(stream: Stream, runner: Runner, pool: Pool, *, stop: Event) -> None:
    """Take, try and settle deliveries until `stop` is set.

    Several workers may run on one database, each in its own thread with its own `stream`. While
    the stream cannot be reached it is tried again.
    """
    parking, look_at = Parking(pool), 0.0
    while not stop.is_set():
        try:
            batch = step(stream, runner)
            parking.parked(batch)
            # Where there is always more to take, what is parked has its turn all the same.
            if batch and monotonic() < look_at:
                continue
            freed = parking.free()
            look_at = monotonic() + WAIT_SECONDS
            if not batch and not freed:
                stream.wait(WAIT_SECONDS)
        except Unavailable as error:
            _LOG.warning("webhooks wait: %s", error)
            stop.wait(RECONNECT_SECONDS)
        except Exception:  # noqa: BLE001 - a worker that is gone would book nothing ever after
            _LOG.exception("webhooks go on after a fault")
            stop.wait(RECONNECT_SECONDS)


def step(stream: Stream, runner: Runner) -> Sequence[Taken]:
    """Try the next deliveries, which are returned; none where none is due. Raises Unavailable."""
    with stream.take(BATCH) as batch:
        runner.handle(batch)
    return batch


def clean_until(stop: Event, pool: Pool, retention: timedelta) -> None:
    """Delete deliveries that were settled longer ago than this, now and then, until `stop`."""
    while not stop.is_set():
        try:
            while deliveries.clean(pool, retention) == deliveries.CLEANED_AT_ONCE:
                if stop.is_set():
                    return
        except Unavailable as error:
            _LOG.warning("old deliveries are deleted later: %s", error)
        except Exception:  # noqa: BLE001 - it goes on with the next time
            _LOG.exception("old deliveries are deleted later")
        stop.wait(CLEAN_SECONDS)


def consume(service: Service, stop: Event) -> None:
    """Work off the deliveries of a service until `stop` is set; returns when the last try ended."""
    settings = service.settings
    retention = timedelta(days=settings.webhook_retention_days)

    def one(runner: Runner) -> None:
        stream = open_stream(settings, service.url, service.pool)
        try:
            work(stream, runner, service.pool, stop=stop)
        finally:
            stream.close()

    with _line_items(settings.stripe_api_key) as line_items:
        runner = Runner(
            service.writer,
            now=service.now,
            stripe_livemode=settings.stripe_environment == "production",
            line_items=line_items,
        )
        threads = [Thread(target=one, args=(runner,), name=f"webhooks-{n}") for n in range(WORKERS)]
        cleaning = (stop, service.pool, retention)
        threads.append(Thread(target=clean_until, args=cleaning, name="webhooks-clean"))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@contextmanager
def _line_items(api_key: SecretStr | None) -> Iterator[LineItems | None]:
    """Asks Stripe for the lines of what was bought, where there is a key to ask with."""
    if api_key is None:
        yield None
        return
    api = StripeApi(api_key.get_secret_value())
    with LookUps(partial(stripe_lines.asked, api)) as look_ups:
        yield look_ups.line_items
