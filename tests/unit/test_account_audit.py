"""A proof keeps one account in memory at a time."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from weakref import ref

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.amounts import Credits
from creditledger.domain.events import Balance, Context
from creditledger.projections.account_audit import AccountAudit
from creditledger.projections.findings import Findings

NOW = datetime(2026, 8, 1, tzinfo=UTC)


def test_an_audit_ends_with_its_account_and_not_with_the_next_collection() -> None:
    stream = ids.account_id("ada", "credits")
    findings = Findings()
    gc.disable()
    try:
        audit = AccountAudit(stream, findings, checkpoint=0)
        granted = e.Granted(
            originator_id=stream,
            originator_version=1,
            recorded_at=NOW,
            context=Context("client:test", "rcp_1", "rcp_1"),
            customer_id="ada",
            asset="credits",
            after=Balance(6, 0, 0, 0, 0),
            amount=Credits(5),
            source="top_up",
            priority=0,
            effective_at=NOW,
            expires_at=None,
        )
        audit.take_in(1, granted)
        audit.close(NOW)
        kept = ref(audit)
        del audit
        assert kept() is None
    finally:
        gc.enable()
    key = ids.stream_key(stream)
    places = {difference.place for difference in findings.kept}
    assert places == {ids.event_id(ids.EVENT, key, 1)}
