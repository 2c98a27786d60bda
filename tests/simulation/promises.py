"""What clients were promised, held against the log when all is quiet again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from against_model import assert_replay
from creditledger.domain.errors import Failed
from creditledger.domain.receipt import ACCEPTED, BatchReceipt, Outcome, Receipt
from log_replay import play_again
from memory_log import audit
from memory_store import MemoryStore
from moves import World
from proofs import prove_identities
from real_time import Placed, assert_in_real_time_order
from simulated_clients import Call

_TIME = "system:time"

#: Who else writes to the log.
_BESIDE_CLIENTS = {_TIME, "provider:stripe", "provider:polar", "system:set-up"}


def prove(log: MemoryStore, calls: Sequence[Call], world: World, at: datetime) -> None:
    """Assert all of it. `world` is the model as it was before the first call; nothing is due."""
    for call in calls:
        _prove_answers(call)
    _prove_receipts(log, calls)
    _prove_once(log, calls)
    _prove_order(calls)
    steps = {
        wish.receipt_id: step
        for call in calls
        for wish, step in zip(call.wishes(), call.steps, strict=False)
        if wish.receipt_id is not None
    }
    play_again(log, steps, world, at)
    prove_identities(log.log)
    audit(log, at)


# Each caller's own story.


def _prove_answers(call: Call) -> None:
    """The first answer that is remembered is the answer, whoever tells it and how often.

    What is invalid is invalid at every moment, and not remembered (domain/README.md, 9.3).
    """
    first = call.remembered
    for answer in call.answers:
        assert not isinstance(answer.told, Failed), answer.told.__cause__
        if first is None:
            continue
        assert own_receipt(first.told).id == call.item.receipt_id, call
        if answer.sent > first.came:
            assert_replay(own_receipt(first.told), own_receipt(answer.told))


def own_receipt(told: Outcome) -> Receipt:
    """The receipt of a command, or of the batch itself."""
    receipt = told.receipt if isinstance(told, BatchReceipt) else told
    assert isinstance(receipt, Receipt), told
    return receipt


def _told(call: Call) -> Iterator[Receipt]:
    """The receipts that the caller was told of: those that must be there."""
    told = None if call.remembered is None else call.remembered.told
    if isinstance(told, BatchReceipt):
        yield told.receipt
        if told.receipt.outcome == ACCEPTED:
            yield from (one for one in told.results if isinstance(one, Receipt))
    elif isinstance(told, Receipt):
        yield told


# The log.


def _prove_receipts(log: MemoryStore, calls: Sequence[Call]) -> None:
    """What was told is kept as it was told, and nothing is kept that nobody asked for."""
    asked = {id_ for call in calls for id_ in _keys(call)}
    assert log.kept_receipts.keys() <= asked
    for call in calls:
        if call.remembered is None:
            # Invalid, or a dry run: whatever was said, nothing came of it.
            assert not log.kept_receipts.keys() & _keys(call), call
        for told in _told(call):
            kept = log.kept_receipts[told.id]
            assert (kept.outcome, kept.answer, kept.position) == (
                told.outcome,
                told.answer,
                told.position,
            )


def _keys(call: Call) -> set[UUID]:
    keys = {call.item.receipt_id, *(wish.receipt_id for wish in call.wishes())}
    return {key for key in keys if key is not None}


def _prove_once(log: MemoryStore, calls: Sequence[Call]) -> None:
    """What one command did stands in one piece, ends where its receipt says, and has a receipt;
    what was refused did nothing."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for position, event in enumerate(log.log, start=1):
        places[event.context.causation_id].append(position)
    for receipt in log.kept_receipts.values():
        done = places.pop(receipt.public_id, [])
        if done:
            assert receipt.outcome == ACCEPTED, receipt
            # What time does stands around what the command did, and belongs to it.
            beside = set(range(done[0], receipt.position + 1)) - set(done)
            whose = {log.log[position - 1].context.actor for position in beside}
            assert done[-1] <= receipt.position, (receipt, done)
            assert whose <= {_TIME}, (receipt, done, whose)
    for cause, positions in places.items():
        actors = {log.log[position - 1].context.actor for position in positions}
        known = all(actor in _BESIDE_CLIENTS for actor in actors)
        assert known, (cause, positions)


def _prove_order(calls: Sequence[Call]) -> None:
    """Whoever asked after an answer stands after it."""
    placed = []
    for call in calls:
        first = call.remembered
        if first is not None:
            receipt = own_receipt(first.told)
            placed.append(Placed(call.first_sent, first.came, receipt.position, receipt))
    assert_in_real_time_order(placed)
