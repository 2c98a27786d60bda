"""Fingerprints: what tells whether an idempotency key came back with the same command.

A fingerprint is of the command as it was sent: its name and those fields that are not their
defaults. So it is the same whether a default was written out or left out, whichever order the
fields came in, and when a later version adds a field. Fingerprints are kept for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final

import msgspec

from creditledger.domain.commands import Command

#: What most fields hold; nothing of it is looked into.
_PLAIN: Final = frozenset({str, int, bool, type(None)})

#: Sorted, so that one and the same command has one encoding.
_ENCODER: Final = msgspec.json.Encoder(order="sorted")


def fingerprint(command: Command) -> bytes:
    """The fingerprint of one command, the same alone and in a batch."""
    return sha256(_ENCODER.encode([command.NAME, _said(command)])).digest()


def batch_fingerprint(items: Iterable[tuple[str | None, bytes]], *, all_or_nothing: bool) -> bytes:
    """The fingerprint of a batch, from each command's key and fingerprint, in order."""
    digest = sha256(b"all_or_nothing" if all_or_nothing else b"independent")
    for key, of_command in items:
        digest.update(_ENCODER.encode([key]))
        digest.update(of_command)
    return digest.digest()


def _said(value: Any) -> dict[str, Any]:
    """The fields that are not their defaults, at every depth."""
    said = {}
    kind: Any = type(value)
    for name, default in _fields(kind):
        field = getattr(value, name)
        if field is not default and (default is MISSING or field != default):
            said[name] = field if type(field) in _PLAIN else _plain(field)
    return said


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _said(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple):
        return [item if type(item) in _PLAIN else _plain(item) for item in value]
    return value


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, _default(field)) for field in fields(kind))


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
