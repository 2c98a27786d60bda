"""The threads that work off deliveries until they are told to stop."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from threading import Event, Thread
from time import monotonic
from typing import Final

from creditledger.consumers import stripe_lines
from creditledger.consumers.runner import Runner
from creditledger.domain.store import Unavailable
from creditledger.infra import deliveries
from creditledger.infra.database import Pool
from creditledger.infra.delivery import Stream
from creditledger.infra.postgres_stream import PostgresStream
from creditledger.infra.stripe_api import StripeApi
from creditledger.infra.wiring import Service

_LOG = logging.getLogger(__name__)

#: How long to wait for a delivery before looking whether a parked one can be tried again.
WAIT_SECONDS: Final = 0.5

#: How long to wait before trying to reach the stream again.
RECONNECT_SECONDS: Final = 1.0

CLEAN_SECONDS: Final = 3600.0

#: Deliveries that are tried at the same time: one that waits for a provider's API holds up no more
#: than its own thread.
WORKERS: Final = 2


def work(stream: Stream, runner: Runner, pool: Pool, *, retention: timedelta, stop: Event) -> None:
    """Take, try and settle deliveries until `stop` is set.

    Several workers may run on one database, each in its own thread with its own `stream`. Old
    deliveries are deleted after `retention`. While the stream cannot be reached it is tried again.
    """
    cleaned = -CLEAN_SECONDS
    while not stop.is_set():
        try:
            if step(stream, runner) or deliveries.free(pool):
                continue
            if monotonic() - cleaned >= CLEAN_SECONDS:
                deliveries.clean(pool, retention)
                cleaned = monotonic()
            stream.wait(WAIT_SECONDS)
        except Unavailable as error:
            _LOG.warning("webhooks wait: %s", error)
            stop.wait(RECONNECT_SECONDS)
        except Exception:  # noqa: BLE001 - a worker that is gone would book nothing ever after
            _LOG.exception("webhooks go on after a fault")
            stop.wait(RECONNECT_SECONDS)


def step(stream: Stream, runner: Runner) -> bool:
    """Try the next delivery; False where none was due. Raises Unavailable."""
    with stream.take() as taken:
        if taken is None:
            return False
        taken.settle(runner.handle(taken))
        return True


def consume(service: Service, stop: Event) -> None:
    """Work off the deliveries of a service until `stop` is set; returns when the last try ended."""
    settings = service.settings
    api_key = settings.stripe_api_key
    runner = Runner(
        service.writer,
        now=service.now,
        stripe_livemode=settings.stripe_environment == "production",
        line_items=None
        if api_key is None
        else partial(stripe_lines.asked, StripeApi(api_key.get_secret_value())),
    )
    retention = timedelta(days=settings.webhook_retention_days)

    def one() -> None:
        stream = PostgresStream(service.url, service.pool)
        try:
            work(stream, runner, service.pool, retention=retention, stop=stop)
        finally:
            stream.close()

    threads = [Thread(target=one, name=f"webhooks-{n}") for n in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
