"""Loads of our own that are held against each other: in short turns, round after round.

Machines change their pace within seconds, by more than what is to be told apart.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from rich.console import Console
from rich.table import Table

import load
import service
import yardstick
from targets import Targets

_ROUNDS = 15
_TURN_SECONDS = 2
_CONNECTIONS = 64
_MANY = str(yardstick.ACCOUNTS)


def show(console: Console, targets: Targets, running: service.Service) -> None:
    """Print what each does beside the one it is held against, and whether that is enough."""
    _commands(console, targets, running)
    _processes(console, targets, running)
    service.wait_until_caught_up(running.dsn, 120)


def _commands(console: Console, targets: Targets, running: service.Service) -> None:
    single, hot, pairs = "deduct, 10,000 accounts", "deduct, one account", "hold and capture, pairs"
    # What is to be told apart most finely stands side by side.
    cases = (
        (single, "deduct.lua", (_MANY,), 1),
        (pairs, "hold_capture.lua", (_MANY, "2"), 2),
        ("hold and capture of half, pairs", "hold_capture.lua", (_MANY, "1"), 2),
        (hot, "deduct.lua", ("1",), 1),
    )
    found = _InTurns(single)
    for _ in range(_ROUNDS):
        for name, script, arguments, commands in cases:
            found.add(name, _turn(running, script, *arguments) / commands)
    console.print(found.table("load", "a second", f"In turns, {_CONNECTIONS} connections"))
    targets.at_least("the same on one hot account, to 10,000 accounts", 1.0, found.ratio(hot))
    targets.at_least(
        "pairs of hold and capture, 64 connections, to single deductions",
        0.45,
        found.ratio(pairs),
    )


def _processes(console: Console, targets: Targets, running: service.Service) -> None:
    """Single deductions on all accounts over as many connections, shared by two API processes."""
    just_started, at_work = "2, of which one has just started", "2, both at work"
    found = _InTurns("1")
    for _ in range(_ROUNDS):
        found.add("1", _together(running))
        with service.another_api(running) as other:
            found.add(just_started, _together(running, other))
            found.add(at_work, _together(running, other))
    console.print(found.table("API processes", "commands/s", "Processes on one database, in turns"))
    for name in (just_started, at_work):
        targets.at_least(f"API processes: {name}, to one", 1.0, found.ratio(name))


def _together(*processes: service.Service) -> float:
    share = _CONNECTIONS // len(processes)

    def of_one(process: service.Service) -> float:
        return _turn(process, "deduct.lua", _MANY, connections=share)

    with ThreadPoolExecutor(len(processes)) as pool:
        return sum(pool.map(of_one, processes))


def _turn(
    running: service.Service, script: str, *arguments: str, connections: int = _CONNECTIONS
) -> float:
    done = load.on(running, script, *arguments, connections=connections, seconds=_TURN_SECONDS)
    return done.succeeded_per_second


class _InTurns:
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
