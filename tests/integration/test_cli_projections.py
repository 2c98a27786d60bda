"""`creditledger projections` and `creditledger verify` on a database with a story."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from creditledger.api.cli import app
from creditledger.infra.database import connect, connection_pool
from creditledger.infra.event_log import EventLog
from creditledger.infra.event_store import PostgresLedgerStore
from creditledger.projections import checkpoints
from creditledger.projections.catalogue import PROJECTIONS
from long_story import LongStory
from read_models import catch_up


@pytest.fixture
def head(database_url: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """A story with read models up to date; where its log ends."""
    monkeypatch.setenv("CREDITLEDGER_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")
    with connection_pool(database_url, "tests", size=2) as pool:
        LongStory(PostgresLedgerStore(pool)).go_on(200)
        catch_up(database_url, EventLog(pool))
        return EventLog(pool).head()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_list_tells_how_far_each_is_and_why_one_has_stopped(
    database_url: str, head: int
) -> None:
    with connect(database_url, "tests") as connection:
        checkpoints.stop(connection, "entries", error="too much", position=7, event_id="evt_x7")
    told = run("projections", "list")
    assert told.exit_code == 0
    lines = {line.split()[0]: line for line in told.stdout.splitlines() if line.strip()}
    assert "stopped" in lines["entries"]
    assert "too much" in lines["entries"]
    for name in ("balances", "holds", "payments", "prices", "links"):
        assert "running" in lines[name]
        assert str(head) in lines[name]


def test_a_stopped_projection_is_started_once(database_url: str, head: int) -> None:
    with connect(database_url, "tests") as connection:
        checkpoints.stop(connection, "entries", error="too much", position=7, event_id=None)
    assert run("projections", "start", "entries").exit_code == 0
    again = run("projections", "start", "entries")
    assert again.exit_code != 0


def test_a_read_model_is_rebuilt_and_an_unknown_one_is_not(database_url: str, head: int) -> None:
    with connect(database_url, "tests") as connection:
        connection.execute("DELETE FROM holds")
    assert run("verify").exit_code != 0
    told = run("projections", "rebuild", "holds")
    assert told.exit_code == 0
    assert f"holds was rebuilt up to position {head}" in told.stdout
    assert run("verify").exit_code == 0
    unknown = run("projections", "rebuild", "wallets")
    assert unknown.exit_code != 0
    assert "balances, entries, holds" in unknown.output


def test_all_read_models_are_rebuilt_where_none_is_named(database_url: str, head: int) -> None:
    with connect(database_url, "tests") as connection:
        connection.execute("DELETE FROM entries")
        connection.execute("DELETE FROM lots")
    told = run("projections", "rebuild")
    assert told.exit_code == 0
    for projection in PROJECTIONS:
        assert f"{projection.name} was rebuilt up to position {head}" in told.stdout
    assert run("verify").exit_code == 0


def test_verify_says_what_differs_and_ends_with_an_error(database_url: str, head: int) -> None:
    told = run("verify")
    assert told.exit_code == 0
    assert "Everything agrees." in told.stdout
    with connect(database_url, "tests") as connection:
        connection.execute("UPDATE lots SET remaining = remaining + 1 WHERE number = 1")
    told = run("verify")
    assert told.exit_code != 0
    assert "Everything agrees." not in told.stdout
    assert "balances: lots " in told.stdout
    assert "remaining: expected " in told.stdout
