"""What the service is meant to reach, and whether it did in this run."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.table import Table


@dataclass
class Targets:
    """Figures that were measured, each beside its least or its most."""

    _rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def at_least(self, name: str, least: float, found: float) -> None:
        """A figure that is to be no less."""
        self._rows.append((name, f"≥ {_shown(least)}", _shown(found), found >= least))

    def at_most(self, name: str, most: float, found: float) -> None:
        """A figure that is to be no more."""
        self._rows.append((name, f"≤ {_shown(most)}", _shown(found), found <= most))

    def table(self) -> Table:
        """All of them, in the order in which they were measured."""
        table = Table("what", "target", "found", "reached", title="Targets")
        for name, target, found, reached in self._rows:
            table.add_row(name, target, found, "yes" if reached else "no")
        return table


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
