"""`creditledger up`, `serve` and `work`: the service's processes."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from creditledger.api.jobs import Job, chosen_jobs, run_jobs
from creditledger.api.listening import require_free_address
from creditledger.api.processes import (
    ProcessEnded,
    interrupted_once,
    run_processes,
    stop_with_parent,
)
from creditledger.infra.clients import ensure_first_key
from creditledger.infra.database import connect
from creditledger.infra.embedded_postgres import embedded_postgres, running_postgres
from creditledger.infra.migrate import migrate
from creditledger.infra.sandbox import SANDBOX_FILE, webhook_secrets, with_sandbox_secrets
from creditledger.infra.settings import PREFIX, Settings, load_settings, without_password
from creditledger.infra.wiring import ready_database, service

_LOG = logging.getLogger(__name__)

#: Objects that are made, beyond those that went, before Python looks for cycles among the young
#: ones, and how much more rarely among the older ones. What is kept for some time (accounts, the
#: receipts of the last ten or twenty thousand commands) has none and comes and goes below this, so
#: that no caller waits while it is looked through: for fifty thousand objects that took 35 ms.
_COLLECTION_THRESHOLDS: Final = (200_000, 20, 100)

_Parent = Annotated[int | None, typer.Option(hidden=True)]


def up() -> None:
    """Run everything: the embedded PostgreSQL where no other is set, the API and the worker."""
    settings = load_settings()
    # Whoever else answers there would be taken for our own API.
    require_free_address(settings)
    with interrupted_once():
        try:
            _up(settings)
        except KeyboardInterrupt:
            print("Stopped.")
        except ProcessEnded as ended:
            sys.exit(f"creditledger: {ended}; all is stopped")


def postgres() -> None:
    """Run the embedded PostgreSQL alone, for dumps and restores, until Ctrl-C."""
    data_dir = load_settings().data_dir
    with interrupted_once(), suppress(KeyboardInterrupt), embedded_postgres(data_dir) as url:
        print(url, flush=True)
        threading.Event().wait()


def serve(parent: _Parent = None) -> None:
    """Run the HTTP API with its writer, on a migrated database."""
    # The web's libraries take a third of a second to import, which no other command needs.
    from creditledger.api.web import serve_http  # noqa: PLC0415

    settings = _begin(parent)
    require_free_address(settings)
    url = ready_database(settings)

    def listening() -> None:
        _log_start(parent, f"serving on {settings.address}")

    with interrupted_once(), suppress(KeyboardInterrupt):
        _tell_first_key(settings, url)
        serve_http(settings, url, before=_collect_rarely, listening=listening)


def work(
    jobs: Annotated[
        list[Job] | None, typer.Argument(help="These jobs alone; all where none is named")
    ] = None,
    heartbeat: Annotated[
        Path | None, typer.Option(help="A file to touch every second while no job hangs")
    ] = None,
    parent: _Parent = None,
) -> None:
    """Run the projections, the webhook consumer, the sweeper and, with Kafka, the publisher."""
    settings = _begin(parent)
    url = ready_database(settings)
    with interrupted_once():
        try:
            chosen = chosen_jobs(settings, jobs or [])
            with service(settings, url, name="creditledger work") as running:
                _collect_rarely()
                _log_start(parent, f"working on {', '.join(job.value for job in chosen)}")
                run_jobs(running, chosen, heartbeat)
        except KeyboardInterrupt:
            pass
        except ProcessEnded as ended:
            sys.exit(f"creditledger: {ended}")


def _up(settings: Settings) -> None:
    if settings.database_url is not None:
        _run(settings, settings.database_url, lambda: None)
        return

    def require_postgres() -> None:
        if running_postgres(settings.data_dir) is None:
            raise ProcessEnded("PostgreSQL ended by itself")

    with embedded_postgres(settings.data_dir) as url:
        _run(settings, url, require_postgres)


def _run(settings: Settings, url: str, require_database: Callable[[], None]) -> None:
    migrate(url)
    settings = with_sandbox_secrets(settings)
    _introduce(settings)
    _tell_first_key(settings, url)
    ready = False

    def watch() -> None:
        nonlocal ready
        require_database()
        if not ready and _answers(settings):
            ready = True
            print("Ready. Stop with Ctrl-C.", flush=True)

    run_processes(("serve", "work"), os.environ | _inherited(settings, url), watch=watch)


def _introduce(settings: Settings) -> None:
    print(f"Credit Ledger {version('creditledger')}")
    print(f"  API       {settings.address}")
    print(f"  Docs      {settings.address}/docs")
    if settings.database_url is None:
        print(f"  Data      {settings.data_dir} (embedded PostgreSQL)")
    else:
        print(f"  Database  {without_password(settings.database_url)}")
    if (file := settings.data_dir / SANDBOX_FILE).exists():
        print(f"  Webhooks  signing secrets for the sandbox in {file}")


def _tell_first_key(settings: Settings, url: str) -> None:
    given = settings.bootstrap_api_key
    with connect(url, "creditledger") as connection:
        key = ensure_first_key(connection, given.get_secret_value() if given else None)
    if key is not None:
        print(f"  API key   {key} (all scopes; shown only this once)", flush=True)


def _inherited(settings: Settings, url: str) -> Mapping[str, str]:
    """What the processes cannot find out by themselves."""
    return {f"{PREFIX}DATABASE_URL": url, **webhook_secrets(settings)}


def _answers(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"{settings.address}/readyz", timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _collect_rarely() -> None:
    """Let Python look for cycles of dead objects as seldom as they come about here."""
    # What the program consists of is never looked at again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)


def _begin(parent: int | None) -> Settings:
    settings = load_settings()
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Its informative lines tell of starting and stopping, which we tell ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    if parent is not None:
        stop_with_parent(parent)
    return settings


def _log_start(parent: int | None, what: str) -> None:
    """Say what this process does, unless `creditledger up` started it and has said so."""
    if parent is None:
        _LOG.info("%s; stop with Ctrl-C", what)
