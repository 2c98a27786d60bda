"""Loads that are measured in turns, round after round, and held against the first of them."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from rich.table import Table


class InTurns:
    """What each load did in each round; `against` is the one that the others are held against."""

    def __init__(self, against: str) -> None:
        self._against = against
        self._found: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, name: str, per_second: float) -> None:
        """What a load did in this round."""
        self._found[name].append(per_second)

    def ratio(self, name: str) -> float:
        """The median of what a load did to what the other one did in the same round."""
        return median(self._ratios(name))

    def table(self, what: str, per_second: str, title: str) -> Table:
        """Medians, and the least and the most of the ratios, a load a row."""
        table = Table(what, per_second, "ratio", "of rounds, from", "to", title=title)
        for name, found in self._found.items():
            ratios = self._ratios(name)
            table.add_row(
                name,
                f"{median(found):,.0f}",
                *(f"{ratio:.2f}" for ratio in (median(ratios), min(ratios), max(ratios))),
            )
        return table

    def _ratios(self, name: str) -> list[float]:
        one = self._found[self._against]
        return [found / beside for found, beside in zip(self._found[name], one, strict=True)]
