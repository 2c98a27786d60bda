"""The ledger against the reference model, over thousands of steps (domain/README.md, all of it).

A failure prints the steps that lead to it, and a line that plays them again.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from ledger_machine import LedgerMachine

SEARCH = settings(
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

#: Some ten seconds, for every change.
TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(SEARCH, max_examples=120, stateful_step_count=40)


class LongMachine(LedgerMachine):
    """The same for longer histories, and more of them."""


#: A minute or more, for every merge.
TestLedgerAtLength = pytest.mark.slow(LongMachine.TestCase)
TestLedgerAtLength.settings = settings(SEARCH, max_examples=400, stateful_step_count=80)
