"""Parts of answers: plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from creditledger.domain.account import CreditAccount
from creditledger.domain.commands import Command
from creditledger.domain.events import AccountEvent, Balance
from creditledger.domain.lots import Lot


def instant(moment: datetime | None) -> str | None:
    """A moment as RFC 3339 in UTC with microseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat("T", "microseconds").removesuffix("+00:00") + "Z"


def balance(account: CreditAccount) -> dict[str, Any]:
    """The account's five figures."""
    return _figures(account.asset, account.balance())


def balance_after(event: AccountEvent) -> dict[str, Any]:
    """The same as they are right after an event, which carries them."""
    return _figures(event.asset, event.after)


def _figures(asset: str, figures: Balance) -> dict[str, Any]:
    return {
        "asset": asset,
        "available": figures.available,
        "held": figures.held,
        "scheduled": figures.scheduled,
        "debt": figures.debt,
        "overage": figures.overage,
    }


def drawn(legs: Iterable[tuple[Lot, int]]) -> list[dict[str, Any]]:
    """Which lots gave how much; a lot that gave twice is named once."""
    lines: dict[str, dict[str, Any]] = {}
    for lot, amount in legs:
        line = lines.get(lot.grant_id)
        if line is None:
            lines[lot.grant_id] = {
                "grant_id": lot.grant_id,
                "source": lot.source,
                "amount": amount,
                "expires_at": instant(lot.expires_at),
            }
        else:
            line["amount"] += amount
    return list(lines.values())


def asked(command: Command, subject: CreditAccount | None) -> dict[str, Any]:
    """What a command asked for: its fields, but those that were left out and have no default.

    Left out is what stands beside it on the receipt: the customer and asset of the account that
    it is about, where there is one.
    """
    said = {
        field.name: _plain(sent)
        for field in fields(command)
        # Of a field that has to be sent, None says something: never, or without limit.
        if (sent := getattr(command, field.name)) is not None or field.default is MISSING
    }
    if subject is not None:
        for name in ("customer_id", "asset"):
            if said.get(name) == getattr(subject, name):
                del said[name]
    return said


def _plain(sent: Any) -> Any:
    if isinstance(sent, datetime):
        return instant(sent)
    if is_dataclass(sent):
        return {field.name: _plain(getattr(sent, field.name)) for field in fields(sent)}
    if isinstance(sent, list | tuple):
        return [_plain(item) for item in sent]
    return sent
