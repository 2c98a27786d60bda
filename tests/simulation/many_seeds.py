"""`make simulate`: many seeds, or one once more.

A seed decides everything, also whether it is played on PostgreSQL: every tenth is, because that
takes several times as long.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom

from creditledger.infra.embedded_postgres import embedded_postgres
from creditledger.infra.migrate import migrate
from simulate import Failure, simulate
from simulated_read_side import ReadSide

#: Of so many seeds, one is played on PostgreSQL.
ON_POSTGRES = 10

#: Seeds that a process plays in a row, before it tells how they went.
_CHUNK = 100

_LARGEST_SEED = 10**9

#: Nobody pulls the plug on a simulation.
_UNSYNCED = {"fsync": "off", "full_page_writes": "off"}


def on_postgres(seed: int) -> bool:
    """Whether this seed is played on PostgreSQL."""
    return seed % ON_POSTGRES == 0


def play(seeds: Sequence[int]) -> tuple[list[str], int]:
    """The failures of these seeds, and how many commands were sent under the others."""
    failures, calls = [], 0
    with ExitStack() as stack:
        read_side: ReadSide | None = None
        for seed in seeds:
            if read_side is None and on_postgres(seed):
                read_side = stack.enter_context(ReadSide.on(_database(stack)))
            try:
                calls += simulate(seed, read_side if on_postgres(seed) else None).calls
            except Failure as failure:
                failures.append(str(failure))
    return failures, calls


def _database(stack: ExitStack) -> str:
    """A migrated database on a server of its own."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="creditledger-simulation-"))
    url = stack.enter_context(embedded_postgres(Path(folder), _UNSYNCED))
    migrate(url)
    return url


def main() -> int:
    """Play what the command line says; the exit code tells whether all went well."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=1_000, help="how many")
    options.add_argument("--first", type=int, help="the first of them; any, if none is named")
    options.add_argument("--seed", type=int, help="this one alone")
    chosen = options.parse_args()
    first = chosen.first
    if first is None:
        first = SystemRandom().randrange(_LARGEST_SEED)
    seeds = range(first, first + chosen.seeds) if chosen.seed is None else [chosen.seed]
    began = time.monotonic()
    played = failed = calls = 0
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
        playing = {processes.submit(play, chunk): chunk for chunk in chunks}
        for done in as_completed(playing):
            failures, called = done.result()
            played += len(playing[done])
            failed += len(failures)
            calls += called
            for failure in failures:
                print(failure, file=sys.stderr, flush=True)
            seconds = time.monotonic() - began
            print(f"{played} of {len(seeds)} seeds, {calls} commands, {failed} failed, "
                  f"{seconds:.0f} s", flush=True)  # fmt: skip
    print(f"Seeds {seeds[0]} to {seeds[-1]}: {failed} failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
