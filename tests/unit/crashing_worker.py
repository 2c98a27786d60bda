"""A worker that dies at a step: run as a program, with the step, a database and settings.

It takes one batch of deliveries, books them, writes down what came of them, and lets the stream
know; after the named step the process is gone, as if the machine were.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from time import monotonic

from creditledger.consumers.runner import Runner
from creditledger.infra.kafka_reader import KafkaReader
from creditledger.infra.settings import Settings
from creditledger.infra.wiring import service
from stream_ends import PATIENCE_SECONDS, Ends

STEPS = ("taken", "booked", "written")


def main(step: str, url: str, settings: Settings) -> None:
    """Work until the step, and die."""
    with service(settings, url) as parts:
        runner = Runner(parts.writer, now=parts.now, stripe_livemode=False)
        stream = Ends(settings, url, parts.pool)()
        if step == "written":
            # Between the table's commit and that of the offsets.
            KafkaReader.handled = handled_after_all  # type: ignore[method-assign]
        deadline = monotonic() + PATIENCE_SECONDS
        while monotonic() < deadline:
            with stream.take(10) as batch:
                if batch and step == "taken":
                    die()
                runner.handle(batch)
                if batch and step == "booked":
                    die()
            if batch:
                die()
            stream.wait(0.1)
    sys.exit("nothing came")


def handled_after_all(self: KafkaReader, records: Iterable[object]) -> None:
    """Die rather than say that records were handled."""
    if list(records):
        die()


def die() -> None:
    """Be gone at once."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Settings(**json.loads(sys.argv[3])))
