"""The command line: `creditledger --help`."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import version as installed_version

import typer
from psycopg import OperationalError

from creditledger.api import (
    cli_clients,
    cli_projections,
    cli_reconcile,
    cli_service,
    cli_webhooks,
)
from creditledger.api.asyncapi import document, dumped
from creditledger.api.cli_database import database_connection
from creditledger.api.cli_tables import print_table
from creditledger.api.listening import CannotListen
from creditledger.domain.store import Unavailable
from creditledger.infra.clients import ClientRefused
from creditledger.infra.embedded_postgres import EmbeddedPostgresFailed
from creditledger.infra.kafka_connection import NoTopic
from creditledger.infra.migrate import MigrationRefused, migrate
from creditledger.infra.provider_lists import ProviderAway, ProviderRefused
from creditledger.infra.reconciliation_schedule import NoKey
from creditledger.infra.sandbox import (
    create_sandbox_key,
    told_settings,
    webhook_secrets,
    with_sandbox_secrets,
)
from creditledger.infra.settings import InvalidSettings, load_settings, unknown_variables
from creditledger.infra.wiring import NoDatabase, database
from creditledger.projections.rebuild import RebuildRefused
from creditledger.projections.runner import PoisonedEvent

#: What goes wrong by no fault of ours, and is told in one sentence.
_EXPECTED = (
    CannotListen,
    ClientRefused,
    EmbeddedPostgresFailed,
    InvalidSettings,
    MigrationRefused,
    NoDatabase,
    NoKey,
    NoTopic,
    OperationalError,
    PoisonedEvent,
    ProviderAway,
    ProviderRefused,
    RebuildRefused,
    Unavailable,
)

app = typer.Typer(
    help="A ledger for prepaid credits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(cli_service.up)
app.command()(cli_service.serve)
app.command()(cli_service.work)
app.command()(cli_service.postgres)
app.command()(cli_projections.verify)
app.command("reconcile")(cli_reconcile.reconcile_command)
app.add_typer(cli_clients.clients_app, name="clients")
app.add_typer(cli_clients.keys_app, name="keys")
app.add_typer(cli_projections.projections_app, name="projections")
app.add_typer(cli_webhooks.webhooks_app, name="webhooks")


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database's tables to this version. Safe to repeat, and to start twice at once."""
    with database(load_settings()) as url:
        done = migrate(url)
    for name in done:
        print(f"Ran {name}")
    print("The database is up to date.")


@app.command()
def sandbox() -> None:
    """Print what a try-out of a sandbox needs, as shell variables: `make demo` uses it.

    That is where the service answers, an API key with all scopes that lasts an hour, and the
    signing secrets of the providers' webhooks.
    """
    settings = load_settings()
    if "production" in (settings.stripe_environment, settings.polar_environment):
        sys.exit("creditledger: this is no sandbox: a provider's environment is production")
    with database_connection(settings) as connection:
        key = create_sandbox_key(connection)
    values = {
        "CREDITLEDGER_URL": settings.address,
        "CREDITLEDGER_API_KEY": key,
        **webhook_secrets(with_sandbox_secrets(settings)),
    }
    for name, value in values.items():
        print(f"{name}={shlex.quote(value)}")


@app.command("settings")
def settings_command() -> None:
    """Print the settings in force, without secrets."""
    print_table(("variable", "in force"), told_settings(load_settings()).items())
    for name in unknown_variables():
        print(f"{name} is set, but it is no setting of this version", file=sys.stderr)


@app.command()
def asyncapi() -> None:
    """Print the AsyncAPI document of the events that are published to Kafka."""
    print(dumped(document(load_settings())), end="")


@app.command()
def version() -> None:
    """Print the version."""
    print(installed_version("creditledger"))


def main() -> None:
    """Run the command that was asked for, and tell in one sentence what it could not do."""
    try:
        app()
    except _EXPECTED as error:
        sys.exit(f"creditledger: {error}")
