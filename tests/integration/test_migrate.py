"""Migrations: each step once, safe to start twice, never backwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from creditledger.infra.database import connect
from creditledger.infra.migrate import MigrationRefused, migrate, pending, steps


def test_each_step_runs_once(empty_database_url: str) -> None:
    names = [step.name for step in steps()]
    assert pending(empty_database_url) == names
    assert migrate(empty_database_url) == names
    assert migrate(empty_database_url) == []
    assert pending(empty_database_url) == []


def test_several_may_start_at_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(migrate, [empty_database_url] * 8))
    assert sorted(runs, key=len)[:7] == [[]] * 7
    assert max(runs, key=len) == [step.name for step in steps()]


def test_a_database_newer_than_the_code_is_refused(database_url: str) -> None:
    with connect(database_url, "tests") as connection:
        connection.execute(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES (9999, '9999_far', '')"
        )
    with pytest.raises(MigrationRefused, match="newer than this version: it has step 9999_far"):
        migrate(database_url)


def test_a_step_that_was_edited_after_it_ran_is_refused(database_url: str) -> None:
    with connect(database_url, "tests") as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'other'")
    with pytest.raises(MigrationRefused, match="edited after its release"):
        migrate(database_url)


def test_a_step_that_fails_leaves_nothing_and_can_be_run_again(empty_database_url: str) -> None:
    with connect(empty_database_url, "tests") as connection:
        connection.execute("CREATE TABLE api_keys (in_the_way int)")
    with pytest.raises(Exception, match="already exists"):
        migrate(empty_database_url)
    with connect(empty_database_url, "tests") as connection:
        connection.execute("DROP TABLE api_keys")
    assert "0004_clients" in migrate(empty_database_url)


def test_a_schema_of_its_own_in_the_address(empty_database_url: str) -> None:
    with connect(empty_database_url, "tests") as connection:
        connection.execute("CREATE SCHEMA ledger_2")
    separator = "&" if "?" in empty_database_url else "?"
    url = f"{empty_database_url}{separator}options=-csearch_path%3Dledger_2"
    assert migrate(url) == [step.name for step in steps()]
    with connect(empty_database_url, "tests") as connection:
        row = connection.execute("SELECT to_regclass('public.clients')").fetchone()
    assert row == (None,)


def test_payments_of_an_older_release_read_like_newer_ones(empty_database_url: str) -> None:
    before = [step for step in steps() if step.number < 8]
    [change] = [step for step in steps() if step.name == "0008_subscriptions"]
    with connect(empty_database_url, "tests") as connection:
        for step in before:
            connection.execute(step.sql.encode())
        connection.execute(
            """
            INSERT INTO payments
            SELECT gen_random_uuid(), 1, 'stripe', 'pi_1', NULL, 'ws_kestrel', 'paid', 1800, 'USD',
                0, lines, refunds, now(), now()
            FROM (VALUES
                ('[{"price_id": "b"}, {"price_id": "a"}]'::jsonb,
                 '[{"refund_id": "re_2"}, {"refund_id": "re_10"}]'::jsonb)
            ) AS told (lines, refunds)
            """
        )
        connection.execute(change.sql.encode())
        row = connection.execute("SELECT lines, refunds, disputed, disputes FROM payments")
        assert row.fetchone() == (
            [
                {"price_id": "b", "period": None, "proration": False},
                {"price_id": "a", "period": None, "proration": False},
            ],
            [{"refund_id": "re_10"}, {"refund_id": "re_2"}],
            0,
            [],
        )
