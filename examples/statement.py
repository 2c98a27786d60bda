"""A customer's statement: each line with the lots that it touched, and sums that are checked."""

from __future__ import annotations

import time
from typing import Any

from demo_client import PATIENCE_SECONDS, Demo


def statement(demo: Demo, *, entries: int, total: int) -> None:
    """Print the whole history once it has so many entries, and check that it adds up to `total`.

    What time does is written down by the sweeper, some seconds after it took effect.
    """
    found = _history(demo, entries)
    sources = {entry["grant_id"]: entry["source"] for entry in found if entry["kind"] == "grant"}
    print(f"\nStatement of {demo.customer}\n")
    print(f"  {'recorded':<12} {'what':<14} {'amount':>7} {'total':>6}  lots")
    sum_ = 0
    for entry in found:
        sum_ += entry["amount"]
        touched = ", ".join(
            f"{lot['amount']} of {sources[lot['grant_id']]} …{lot['grant_id'][-4:]}"
            for lot in entry["lots"]
        )
        at = entry["recorded_at"][11:23]
        print(
            f"  {at} {entry['kind']:<14} {entry['amount']:>+7} {entry['total_after']:>6}  {touched}"
        )
        if entry["total_after"] != sum_:
            demo.check(f"total after {entry['entry_id']}", entry["total_after"], sum_)
    print()
    demo.check("entries", len(found), entries)
    demo.check("their sum is what is available and held", sum_, total)


def _history(demo: Demo, entries: int) -> list[dict[str, Any]]:
    """The entries, first one first."""
    deadline, told = time.monotonic() + PATIENCE_SECONDS, False
    while True:
        page = demo.ask(f"/v1/customers/{demo.customer}/entries", limit=100)["entries"]
        if len(page) >= entries or time.monotonic() > deadline:
            return list(reversed(page))
        if not told:
            told = True
            print("Until the sweeper writes down what has expired: some seconds", flush=True)
        time.sleep(0.2)
