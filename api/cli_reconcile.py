"""`creditledger reconcile`: brings in what a provider lists and never delivered."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from creditledger.api.cli_database import migrated_database
from creditledger.api.cli_tables import print_table
from creditledger.domain.provider_commands import Provider
from creditledger.infra.provider_lists import Patience, ProviderAway, ProviderRefused, Window
from creditledger.infra.reconciliation import Tally, reconcile, standing
from creditledger.infra.reconciliation_record import Record
from creditledger.infra.reconciliation_schedule import lists_of
from creditledger.infra.settings import load_settings
from creditledger.infra.wiring import Service, machine_clock, service

_STATUSES: Final = ("done", "ignored", "parked", "failed")

_LOOK_SECONDS: Final = 0.2

_Day = Annotated[
    str | None, typer.Option(help="the same form; now, where it is left out", metavar="TIME")
]


def reconcile_command(
    provider: Annotated[Provider, typer.Argument(help="whose lists are read")],
    since: Annotated[
        str,
        typer.Option(help="what has happened since: 2026-11-01, or with a time", metavar="TIME"),
    ],
    until: _Day = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what would be brought in")
    ] = False,
    wait: Annotated[
        int, typer.Option(min=0, max=3600, help="seconds to wait for the workers to book it")
    ] = 60,
) -> None:
    """Bring in what a provider lists and never delivered.

    Through the same door as its webhooks; safe to repeat.
    """
    window, settings, tally = _window(since, until), load_settings(), Tally()
    trouble: Exception | None = None
    with (
        lists_of(provider, settings, patience=Patience(), now=machine_clock) as lists,
        migrated_database(settings) as url,
        service(settings, url, name="creditledger reconcile") as running,
    ):
        record = Record(
            running.pool, provider, settings.environment_of(provider), now=machine_clock
        )
        try:
            with _progress(provider) as progress, _recorded(record, window, tally, dry_run):
                reconcile(
                    lists,
                    window,
                    stream=running.stream,
                    pool=running.pool,
                    now=machine_clock,
                    tally=tally,
                    dry_run=dry_run,
                    progress=progress,
                )
        except (ProviderRefused, ProviderAway) as error:
            trouble = error
        stands = {} if dry_run else _settled(running, tally, wait)
    _print(lists.kinds, tally, stands, dry_run=dry_run)
    for passed in tally.passed:
        print(f"Not read: {passed.kind}, {passed.name}: {passed.detail}", file=sys.stderr)
    if trouble is not None:
        raise trouble
    if tally.passed:
        sys.exit(f"creditledger: not everything could be read: {len(tally.passed)}")


def _window(since: str, until: str | None) -> Window:
    now = machine_clock()
    window = Window(_moment("--since", since), now if until is None else _moment("--until", until))
    if not window.since < window.until <= now:
        raise typer.BadParameter("--since must lie before --until, and both before now")
    return window


def _moment(name: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{name} is {text!r}; write 2026-11-01 or 2026-11-01T12:00:00+01:00 (UTC without it)"
        ) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


@contextmanager
def _recorded(record: Record, window: Window, tally: Tally, dry_run: bool) -> Iterator[None]:
    if dry_run:
        yield
        return
    with record.run(window, tally):
        yield


@contextmanager
def _progress(provider: str) -> Iterator[Callable[[Tally], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(f"Reading {provider}'s lists", total=None)

        def progress(tally: Tally) -> None:
            read = ", ".join(f"{count} {kind}" for kind, count in tally.read.items())
            brought = sum(map(len, tally.brought.values()))
            shown.update(task, description=f"Read {read}; {brought} new")

        yield progress


def _settled(running: Service, tally: Tally, wait: int) -> Mapping[str, Counter[str]]:
    """How what was brought in stands as soon as all of it was tried, or after so many seconds."""
    deadline = monotonic() + wait
    while True:
        stands = standing(running.pool, tally)
        if not any(counts["received"] for counts in stands.values()) or monotonic() >= deadline:
            return stands
        sleep(_LOOK_SECONDS)


def _print(
    kinds: tuple[str, ...], tally: Tally, stands: Mapping[str, Counter[str]], *, dry_run: bool
) -> None:
    titles = ("what", "read", "would be new" if dry_run else "new")
    rows = []
    for kind in kinds:
        row = (kind, str(tally.read[kind]), str(len(tally.brought.get(kind, ()))))
        counts = stands.get(kind, Counter())
        rows.append(row if dry_run else (*row, *(str(counts[name]) for name in _STATUSES)))
    print_table(titles if dry_run else (*titles, *_STATUSES), rows)
    waiting = sum(counts["received"] for counts in stands.values())
    if waiting:
        print(
            f"{waiting} still wait for a worker: run `creditledger work` where none does, and look"
            " at `creditledger webhooks list --status received`."
        )
    if any(counts["parked"] or counts["failed"] for counts in stands.values()):
        print("Why something is parked or failed: `creditledger webhooks list --status parked`.")
