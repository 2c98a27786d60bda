"""What a proof has found: differences, said so that somebody can look at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

#: Differences that are kept to be told; past it they are only counted.
KEPT_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something is not as it must be.

    `model` is the read model, or `log` or `receipts`; `place` the event, row or stream.
    """

    model: str
    place: str
    what: str
    expected: str
    found: str
    customer_id: str | None = None
    asset: str | None = None

    def __str__(self) -> str:
        whose = f" ({self.customer_id}, {self.asset})" if self.customer_id else ""
        return (
            f"{self.model}: {self.place}{whose}: {self.what}: "
            f"expected {self.expected}, found {self.found}"
        )


@dataclass(slots=True)
class Findings:
    """The differences so far: the first ones whole, all of them counted."""

    kept: list[Difference] = field(default_factory=list)
    total: int = 0

    def add(self, difference: Difference) -> None:
        """Keep one more."""
        self.total += 1
        if len(self.kept) < KEPT_MAX:
            self.kept.append(difference)


@dataclass(slots=True)
class Witness:
    """Reports differences of one model at one place, which may be told only where it is needed."""

    findings: Findings
    model: str
    place: str | Callable[[], str]
    customer_id: str | None = None
    asset: str | None = None

    def expect(self, what: str, expected: Any, found: Any) -> bool:
        """Report it where the two differ; tell whether they agree."""
        if expected == found:
            return True
        self.report(what, expected, found)
        return False

    def report(self, what: str, expected: Any, found: Any) -> None:
        """Report a difference."""
        self.findings.add(
            Difference(
                model=self.model,
                place=self.place if isinstance(self.place, str) else self.place(),
                what=what,
                expected=str(expected),
                found=str(found),
                customer_id=self.customer_id,
                asset=self.asset,
            )
        )
