"""`creditledger projections` and `creditledger verify`: the read models, and whether they agree."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from creditledger.api.cli_database import ask, migrated_database
from creditledger.api.cli_tables import print_table
from creditledger.infra.proof import verify_ledger
from creditledger.infra.read_side import rebuild_projections, start_projection
from creditledger.infra.wiring import machine_clock
from creditledger.projections.catalogue import PROJECTIONS, projection_named
from creditledger.projections.checkpoints import statuses

projections_app = typer.Typer(help="The read models and how far they are.", no_args_is_help=True)


def _known(name: str) -> str:
    try:
        return projection_named(name).name
    except LookupError as error:
        raise typer.BadParameter(str(error)) from None


def _all_known(names: list[str] | None) -> list[str]:
    return [_known(name) for name in names or ()]


_Name = Annotated[
    str, typer.Argument(help="the projection, as `projections list` shows it", callback=_known)
]


_Names = Annotated[
    list[str] | None,
    typer.Argument(help="the projections; all where none is named", callback=_all_known),
]


@projections_app.command("list")
def list_projections() -> None:
    """List the projections: how far they are, and why one has stopped."""
    print_table(
        ("name", "version", "position", "lag", "status", "error"),
        (
            (
                *(status.name, str(status.version), str(status.position), str(status.lag)),
                *(status.status, status.error or ""),
            )
            for status in ask(statuses)
        ),
    )


@projections_app.command("rebuild")
def rebuild(names: _Names = None) -> None:
    """Make read models again from the log, while the old ones go on being read."""
    wanted = names or [projection.name for projection in PROJECTIONS]
    bar = Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with migrated_database() as url, bar:
        task = bar.add_task(f"Rebuilding {', '.join(wanted)}", total=None)

        def progress(position: int, newest: int) -> None:
            bar.update(task, completed=position, total=newest)

        reached = rebuild_projections(url, wanted, progress)
    for name, position in reached.items():
        print(f"{name} was rebuilt up to position {position}.")


@projections_app.command("start")
def start(name: _Name) -> None:
    """Let a stopped projection try again."""
    with migrated_database() as url:
        started = start_projection(url, name)
    if not started:
        sys.exit(f"creditledger: the projection {name} is not stopped")
    print(f"{name} goes on; a running worker takes it up.")


def verify() -> None:
    """Prove the books from the log alone, and compare every read model with it; 1 if any differs.

    May run while the service does.
    """
    with migrated_database() as url:
        report = verify_ledger(url, machine_clock())
    counts = report.counts
    print_table(
        ("what", "looked at", "up to position"),
        [
            ("events", str(counts.events), str(report.position)),
            ("accounts", str(counts.accounts), ""),
            ("trails", str(counts.trails), ""),
            ("payments", str(counts.payments), ""),
            ("subscriptions", str(counts.subscriptions), ""),
            ("receipts", str(report.receipts), ""),
            *(
                (
                    f"rows of {model.name}",
                    "could not be compared" if model.rows is None else str(model.rows),
                    str(model.position),
                )
                for model in report.models
            ),
        ],
    )
    for difference in report.differences:
        print(difference)
    if not report.clean:
        sys.exit(f"creditledger: {report.differences_total} differences")
    print("Everything agrees.")
