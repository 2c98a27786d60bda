"""`creditledger reconcile` as people call it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from threading import Event, Thread

import pytest
from polar.v2026_10.client import SERVERS
from typer.testing import CliRunner, Result

from creditledger.api.cli import app
from creditledger.consumers.worker import consume
from creditledger.infra import provider_lists
from creditledger.infra.provider_lists import ProviderAway, ProviderRefused
from creditledger.infra.reconciliation_record import Record
from creditledger.infra.reconciliation_schedule import NoKey
from creditledger.infra.wiring import machine_clock
from loopback import Answer
from polar_server import DUNLIN, TOKEN, Polar
from webhook_desk import Desk, open_desk

AUGUST = ("--since", "2026-08-10", "--until", "2026-09-01T00:00:00+00:00")


@pytest.fixture
def desk(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("CREDITLEDGER_DATABASE_URL", database_url)
    monkeypatch.setenv("CREDITLEDGER_POLAR_ACCESS_TOKEN", TOKEN)
    with open_desk(database_url) as desk:
        yield desk


@pytest.fixture
def polar(polar: Polar, monkeypatch: pytest.MonkeyPatch) -> Polar:
    """Where Polar's sandbox is looked for."""
    monkeypatch.setitem(SERVERS, "sandbox", polar.url)
    return polar


@pytest.fixture
def worker(desk: Desk) -> Iterator[None]:
    """Somebody who books what comes."""
    stop = Event()
    thread = Thread(target=consume, args=(desk.parts, stop))
    thread.start()
    yield
    stop.set()
    thread.join()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["reconcile", *arguments])


def table(result: Result) -> dict[str, list[str]]:
    """The cells after each kind."""
    lines = [re.split(r" {2,}", line) for line in result.stdout.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) > 2}


@pytest.mark.usefixtures("worker")
def test_it_tells_what_was_read_what_was_new_and_what_became_of_it(
    desk: Desk, polar: Polar
) -> None:
    polar.disputes[0]["status"] = "in_arbitration"
    first = run("polar", *AUGUST)
    assert first.exit_code == 0, first.output
    told = table(first)
    assert told["what"] == ["read", "new", "done", "ignored", "parked", "failed"]
    assert told["orders"] == ["2", "2", "2", "0", "0", "0"]
    assert told["disputes"] == ["1", "1", "0", "0", "1", "0"]
    assert "webhooks list --status parked" in first.stdout
    assert desk.available(DUNLIN) == 1000
    again = table(run("polar", *AUGUST))
    assert again["orders"] == ["2", "0", "0", "0", "0", "0"]
    progress = Record(desk.parts.pool, "polar", "sandbox", now=machine_clock).progress()
    assert (progress.objects_read, progress.objects_brought) == (10, 5)


def test_without_a_worker_it_waits_no_longer_than_it_was_told(desk: Desk, polar: Polar) -> None:
    result = run("polar", *AUGUST, "--wait", "0")
    assert result.exit_code == 0
    assert "5 still wait for a worker: run `creditledger work`" in result.stdout
    desk.work_off()
    assert desk.available(DUNLIN) == 400


def test_a_dry_run_only_tells(desk: Desk, polar: Polar) -> None:
    result = run("polar", *AUGUST, "--dry-run")
    assert table(result)["what"] == ["read", "would be new"]
    assert table(result)["orders"] == ["2", "2"]
    assert desk.rows() == []


def test_what_cannot_be_read_is_named_and_the_rest_is_brought_in(desk: Desk, polar: Polar) -> None:
    polar.forbidden.add("/v1/disputes/")
    polar.refunds[0]["modified_at"] = "then"
    result = run("polar", *AUGUST, "--wait", "0")
    assert result.exit_code != 0
    assert "Not read: disputes, the list of disputes: the access token may not" in result.stderr
    assert f"Not read: refunds, {polar.refunds[0]['id']}: modified_at is 'then'" in result.stderr
    assert table(result)["orders"][:2] == ["2", "2"]


def test_a_refused_key_is_told_after_what_was_done(desk: Desk, polar: Polar) -> None:
    polar.faults.extend([Answer(body={"items": [], "pagination": {"max_page": 0}}), Answer(401)])
    result = run("polar", *AUGUST, "--wait", "0")
    assert isinstance(result.exception, ProviderRefused)
    assert "orders" in table(result)


def test_a_network_that_is_away_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SERVERS, "sandbox", "http://127.0.0.1:1")
    monkeypatch.setattr(provider_lists, "TRIES_MAX", 1)
    result = run("polar", *AUGUST)
    assert isinstance(result.exception, ProviderAway)
    assert "cannot be reached" in str(result.exception)


@pytest.mark.parametrize("provider", ["stripe", "polar"])
@pytest.mark.usefixtures("desk")
def test_without_a_key_it_says_which_to_set(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    monkeypatch.delenv("CREDITLEDGER_POLAR_ACCESS_TOKEN")
    result = run(provider, *AUGUST)
    assert isinstance(result.exception, NoKey)
    assert f"set CREDITLEDGER_{provider.upper()}_" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["paddle", *AUGUST], "paddle"),
        (["polar"], "--since"),
        (["polar", "--since", "august"], "write 2026-11-01"),
        (["polar", "--since", "2026-09-01", "--until", "2026-08-01"], "before --until"),
        (["polar", "--since", "2200-01-01"], "before now"),
        (["polar", *AUGUST, "--wait", "-1"], "--wait"),
    ],
)
@pytest.mark.usefixtures("desk")
def test_what_does_not_fit_is_said(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
