"""Tables for people and for `cut`: every cell whole, whatever the terminal's width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print the rows below their titles, in columns as wide as their widest cell."""
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
