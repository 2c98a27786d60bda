"""What the real ledger said and holds, beside what the reference model says and holds.

Lots and holds are told by their places among their kind on the account, which never change: the
model knows no ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from creditledger.domain import events as e
from creditledger.domain import ids
from creditledger.domain.account import CreditAccount
from creditledger.domain.answers import instant
from creditledger.domain.errors import LedgerError
from creditledger.domain.receipt import Outcome, Receipt
from memory_store import MemoryStore
from moves import WHO, At, Expected, Step, Who, World, ids_of
from reference_model import Account, No


def expect(step: Step, world: World, now: datetime) -> Expected | No:
    """What the model makes of it; where that is a refusal, the world may have changed halfway."""
    try:
        parts = step.play(world, now)
    except No as no:
        return no
    expected = {name: _places(part, world) for name, part in parts.items()}
    if step.who is not None:
        balance = world.accounts[step.who].balance(now)
        expected["balance"] = {"asset": step.who.asset, **balance}
    return expected


def compare(expected: Expected | No, told: Outcome, store: MemoryStore) -> None:
    """Assert that the ledger told what the model expects, as far as the model tells."""
    if isinstance(expected, No):
        outcome = told.code if isinstance(told, LedgerError) else _outcome(told)
        values = told.values if isinstance(told, LedgerError) else _answer(told)
        assert outcome == expected.code, values
        assert {name: values[name] for name in expected.values} == expected.values
    else:
        answer = _answer(told)
        assert _outcome(told) == "accepted", answer
        assert {name: _read(answer[name], store) for name in expected} == expected


def _places(part: object, world: World) -> object:
    if isinstance(part, datetime):
        return instant(part)
    if not isinstance(part, At):
        return part
    lots = world.accounts[part.who].lots
    places: dict[int, int] = {}
    for lot, amount in part.legs:
        places[lots.index(lot)] = places.get(lots.index(lot), 0) + amount
    return [(part.who, place, amount) for place, amount in places.items()]


def _read(value: Any, store: MemoryStore) -> Any:
    """An answer's list of lots, as places."""
    if not isinstance(value, list):
        return value
    return [(*_place_of(leg["grant_id"], store), leg["amount"]) for leg in value]


def _place_of(grant_id: str, store: MemoryStore) -> tuple[Who, int]:
    for who in WHO:
        grants = ids_of(store, who, e.Granted, ids.GRANT)
        if grant_id in grants:
            return who, grants.index(grant_id)
    raise AssertionError(f"no such grant: {grant_id}")


def _outcome(told: Outcome) -> str:
    assert isinstance(told, Receipt), told
    return told.outcome


def _answer(told: Outcome) -> Mapping[str, Any]:
    assert isinstance(told, Receipt), told
    return told.answer


def picture(account: CreditAccount, grants: list[str], holds: list[str]) -> dict[str, Any]:
    """What an account holds, with places in place of ids."""
    return {
        "lots": [
            (grants.index(lot.grant_id), lot.remaining, lot.held, lot.expires_at, lot.written_off)
            for lot in account.lots.burn_order()
        ],
        "holds": {
            holds.index(hold.hold_id): (
                hold.expires_at,
                [(grants.index(leg.grant_id), leg.amount) for leg in hold.lots],
            )
            for hold in account.holds.values()
        },
        "debts": [(grants.index(debt.grant_id), debt.amount) for debt in account.debts.values()],
        "limit": account.overage_limit,
    }


def picture_of_model(model: Account) -> dict[str, Any]:
    """The same of the model's account."""
    return {
        "lots": [
            (model.lots.index(lot), free, lot.left - free, lot.ends, lot.written_off)
            for lot in model.in_burn_order()
            for free in [model.free(lot)]
            if lot.left
        ],
        "holds": {
            place: (hold.ends, [(model.lots.index(lot), amount) for lot, amount in hold.pins])
            for place, hold in enumerate(model.holds)
            if not hold.how
        },
        "debts": [(model.lots.index(lot), amount) for lot, amount in model.debts],
        "limit": model.limit,
    }


def assert_replay(first: Receipt, again: Outcome) -> None:
    """Assert that a retry was told the first answer again."""
    assert isinstance(again, Receipt)
    assert again.replayed
    assert again.public_id == first.public_id
    assert (again.outcome, again.answer, again.position) == (
        first.outcome,
        first.answer,
        first.position,
    )
