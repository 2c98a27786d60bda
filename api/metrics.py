"""What Prometheus is told: one registry for a process, counted where things happen."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from math import nan
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from creditledger.infra.deliveries import Counts
from creditledger.infra.group_commit import Commit
from creditledger.infra.publications import Lag
from creditledger.infra.reconciliation_record import Progress
from creditledger.projections.checkpoints import Status

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZE_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)


class Metrics:
    """The figures of this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self._commands = counter(
            "creditledger_commands",
            "Commands by type and outcome (accepted, or the problem's code)",
            ("command", "outcome"),
        )
        # Finding a series by its labels takes longer than counting in it.
        self._commands_by = cache(self._commands.labels)
        self._commits = counter(
            "creditledger_commits",
            "Transactions of the writer",
            ("succeeded",),
        )
        self._commit_seconds = histogram(
            "creditledger_commit_seconds",
            "Time to decide and save one transaction's commands",
            buckets=_LATENCY_BUCKETS,
        )
        self._commit_size = histogram(
            "creditledger_commit_commands",
            "Commands in one transaction",
            buckets=_SIZE_BUCKETS,
        )
        self._wait_seconds = histogram(
            "creditledger_queue_seconds",
            "Time that a transaction's first command waited in the queue",
            buckets=_LATENCY_BUCKETS,
        )
        self._request_seconds = histogram(
            "creditledger_request_seconds",
            "Time from a request's headers to the end of its answer",
            ("route", "status"),
            buckets=_LATENCY_BUCKETS,
        )
        self._request_seconds_by = cache(self._request_seconds.labels)
        self._queue = gauge("creditledger_queue_commands", "Commands in the queue")
        self._lag = gauge(
            "creditledger_projection_lag_events",
            "Events that a projection has yet to handle",
            ("projection",),
        )
        self._stopped = gauge(
            "creditledger_projection_stopped",
            "1 where a projection has stopped at an event that it cannot handle",
            ("projection",),
        )
        self._publisher_lag = gauge(
            "creditledger_publisher_lag_events",
            "Events that a topic has yet to get",
            ("topic",),
        )
        self._deliveries = gauge(
            "creditledger_deliveries",
            "Deliveries of webhooks that are parked or failed",
            ("status", "reason"),
        )
        self._deliveries_waiting = gauge(
            "creditledger_deliveries_waiting",
            "Deliveries of webhooks that have yet to be handled, or to be tried again",
        )
        self._reconciliation = _Reconciliation(self.registry)

    def command(self, name: str, outcome: str, number: int = 1) -> None:
        """So many commands were answered."""
        self._commands_by(name, outcome).inc(number)

    def request(self, route: str, status: int, seconds: float) -> None:
        """One request was answered; status 0 where it was not."""
        self._request_seconds_by(route, status).observe(seconds)

    def commit(self, commit: Commit) -> None:
        """The writer ended one transaction; called in its thread."""
        self._commits.labels(str(commit.succeeded).lower()).inc()
        self._commit_seconds.observe(commit.seconds)
        self._commit_size.observe(commit.commands)
        self._wait_seconds.observe(commit.waited_seconds)

    def deliveries(self, counts: Counts, waiting: int | None) -> None:
        """What became of webhooks; `waiting` is None where nobody can tell."""
        # A reason that is gone is gone, rather than what it was.
        self._deliveries.clear()
        for (status, reason), count in counts.items():
            if status != "received":
                self._deliveries.labels(status, reason).set(count)
        self._deliveries_waiting.set(nan if waiting is None else waiting)

    def reconciled(self, progress: Iterable[Progress]) -> None:
        """How far the providers are reconciled, by whichever process."""
        for each in progress:
            self._reconciliation.tell(each)

    def exposition(
        self, *, queued: int, statuses: Iterable[Status], published: Iterable[Lag]
    ) -> bytes:
        """Everything, in Prometheus' text format."""
        self._queue.set(queued)
        for status in statuses:
            self._lag.labels(status.name).set(status.lag)
            self._stopped.labels(status.name).set(status.status == "stopped")
        for topic in published:
            self._publisher_lag.labels(topic.topic).set(topic.lag)
        return generate_latest(self.registry)


class _Reconciliation:
    """The figures of reconciliation."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._succeeded = Gauge(
            "creditledger_reconciliation_succeeded_timestamp_seconds",
            "Up to when a provider's lists were last read with success",
            ("provider",),
            registry=registry,
        )
        self._failing = Gauge(
            "creditledger_reconciliation_failing",
            "1 where a provider's lists could not be read the last time",
            ("provider",),
            registry=registry,
        )
        self._objects = Gauge(
            "creditledger_reconciliation_objects",
            "Objects that were read from a provider's lists, and those of them that were new",
            ("provider", "which"),
            registry=registry,
        )

    def tell(self, progress: Progress) -> None:
        """How far one provider is reconciled."""
        provider = progress.provider
        if progress.succeeded_at is not None:
            self._succeeded.labels(provider).set(progress.succeeded_at.timestamp())
        self._failing.labels(provider).set(progress.error is not None)
        self._objects.labels(provider, "read").set(progress.objects_read)
        self._objects.labels(provider, "new").set(progress.objects_brought)
