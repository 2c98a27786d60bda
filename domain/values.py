"""Values: what is only ever built, compared and read; events and commands are values, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """A frozen, hashable dataclass with slots; frozen by mypy, not as the program runs.

    A frozen dataclass of Python's takes three times as long to build, and some ten are built for
    each command (docs/decisions/0019-frozen-by-mypy.md).
    """

    def decorate(cls: type[T]) -> type[T]:
        return dataclass(slots=True, unsafe_hash=True, kw_only=kw_only)(cls)

    return decorate
