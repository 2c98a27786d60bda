"""Two minutes of `make torture`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from kafka_artifacts import NoKafka, jars, java
from kafka_broker import without_kafka
from torture import torture

pytestmark = [pytest.mark.slow, pytest.mark.alone]

_SECONDS = 105.0
_SEED = 1


def test_whatever_is_killed_the_log_says_what_everybody_was_told() -> None:
    with tempfile.TemporaryDirectory(prefix="creditledger-torture-") as folder:
        print(torture(_SECONDS, Path(folder), _SEED))
    try:
        java(), jars()
    except NoKafka as reason:
        # The rest was tortured all the same.
        without_kafka(str(reason))
