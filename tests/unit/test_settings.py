"""Settings: read from the environment, told without secrets, refused with the variable's name."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from creditledger.infra.sandbox import (
    SANDBOX_FILE,
    told_settings,
    webhook_secrets,
    with_sandbox_secrets,
)
from creditledger.infra.settings import (
    InvalidSettings,
    Settings,
    load_settings,
    redacted,
    unknown_variables,
)

SECRET = "whsec_this-is-very-secret"
PASSWORD = "hunter2"


def values(settings: Settings) -> list[str]:
    return [secret.get_secret_value() for secret in settings.stripe_webhook_secrets]


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITLEDGER_STRIPE_WEBHOOK_SECRETS", " whsec_a, whsec_b,,")
    assert values(load_settings()) == ["whsec_a", "whsec_b"]


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITLEDGER_DATABASE_URL", "")
    monkeypatch.setenv("CREDITLEDGER_PORT", "")
    assert load_settings().database_url is None
    assert load_settings().port == 8000


def test_nothing_secret_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITLEDGER_STRIPE_WEBHOOK_SECRETS", SECRET)
    monkeypatch.setenv("CREDITLEDGER_STRIPE_API_KEY", SECRET)
    monkeypatch.setenv("CREDITLEDGER_POLAR_ACCESS_TOKEN", SECRET)
    monkeypatch.setenv("CREDITLEDGER_BOOTSTRAP_API_KEY", SECRET)
    monkeypatch.setenv(
        "CREDITLEDGER_DATABASE_URL",
        f"postgresql://ledger:{PASSWORD}@db:5432/ledger?password={PASSWORD}&sslmode=require",
    )
    settings = load_settings()
    shown = redacted(settings)
    for text in (str(shown), repr(settings), str(settings)):
        assert SECRET not in text
        assert PASSWORD not in text
    assert shown["CREDITLEDGER_DATABASE_URL"] == "postgresql://ledger@db:5432/ledger"
    assert shown["CREDITLEDGER_STRIPE_WEBHOOK_SECRETS"] == "(1 set)"
    assert shown["CREDITLEDGER_STRIPE_API_KEY"] == "(set)"


def test_what_does_not_fit_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITLEDGER_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("CREDITLEDGER_DATABASE_URL", f"mysql://ledger:{PASSWORD}@db/ledger")
    monkeypatch.setenv("CREDITLEDGER_REVOCATION_POLICY", "forget")
    monkeypatch.setenv("CREDITLEDGER_BOOTSTRAP_API_KEY", f"short-{PASSWORD}")
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    told = str(refused.value)
    for name in ("PORT", "DATABASE_URL", "REVOCATION_POLICY", "BOOTSTRAP_API_KEY"):
        assert f"CREDITLEDGER_{name}: " in told
    assert PASSWORD not in told


def test_a_variable_that_sets_nothing_is_noticed() -> None:
    environment = {
        "CREDITLEDGER_PROT": "1",
        "CREDITLEDGER_PORT": "1",
        "CREDITLEDGER_TEST_DATABASE_URL": "x",
        "PORT": "1",
    }
    assert unknown_variables(environment) == ["CREDITLEDGER_PROT"]


def test_an_address_of_ipv6_has_brackets() -> None:
    assert Settings(host="::1", port=80).address == "http://[::1]:80"


def test_a_sandbox_without_secrets_gets_random_ones_that_stay(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    first = with_sandbox_secrets(settings)
    (secret,) = values(first)
    assert secret.startswith("whsec_")
    assert webhook_secrets(with_sandbox_secrets(settings)) == webhook_secrets(first)
    assert webhook_secrets(with_sandbox_secrets(Settings(data_dir=tmp_path / "b"))) != (
        webhook_secrets(first)
    )
    file = tmp_path / SANDBOX_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_configured_secrets_stay_and_production_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDITLEDGER_STRIPE_WEBHOOK_SECRETS", SECRET)
    monkeypatch.setenv("CREDITLEDGER_POLAR_ENVIRONMENT", "production")
    settings = with_sandbox_secrets(Settings(data_dir=tmp_path))
    assert values(settings) == [SECRET]
    assert settings.polar_webhook_secrets == ()
    assert not (tmp_path / SANDBOX_FILE).exists()


def test_what_is_told_counts_the_secrets_of_the_sandbox(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, polar_environment="production")
    file = tmp_path / SANDBOX_FILE
    stripe, polar = (f"CREDITLEDGER_{name}_WEBHOOK_SECRETS" for name in ("STRIPE", "POLAR"))
    assert told_settings(settings)[stripe] == "(0 set)"
    assert not file.exists()
    (secret,) = values(with_sandbox_secrets(settings))
    told = told_settings(settings)
    assert told[stripe] == f"(1 set by `creditledger up`, in {file})"
    assert told[polar] == "(0 set)"
    assert secret not in str(told)


class TestEnvironments:
    @pytest.mark.parametrize("kind", ["sk", "rk"])
    @pytest.mark.parametrize(("mode", "environment"), [("live", "sandbox"), ("test", "production")])
    def test_a_key_of_the_other_environment_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, kind: str, mode: str, environment: str
    ) -> None:
        monkeypatch.setenv("CREDITLEDGER_STRIPE_API_KEY", f"{kind}_{mode}_{PASSWORD}")
        monkeypatch.setenv("CREDITLEDGER_STRIPE_ENVIRONMENT", environment)
        with pytest.raises(InvalidSettings) as refused:
            load_settings()
        told = str(refused.value)
        assert told.startswith("CREDITLEDGER_STRIPE_ENVIRONMENT: ")
        assert f"is {environment}, but CREDITLEDGER_STRIPE_API_KEY is a {mode} key" in told
        assert PASSWORD not in told

    def test_sandbox_is_what_a_live_key_must_not_find_by_itself(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CREDITLEDGER_STRIPE_API_KEY", "sk_live_x")
        with pytest.raises(InvalidSettings, match="is sandbox"):
            load_settings()

    @pytest.mark.parametrize(
        ("key", "environment"),
        [
            ("sk_test_x", "sandbox"),
            ("rk_live_x", "production"),
            ("a key of a kind to come", "sandbox"),
            ("", "production"),
        ],
    )
    def test_a_key_of_the_same_environment_is_accepted(
        self, monkeypatch: pytest.MonkeyPatch, key: str, environment: str
    ) -> None:
        monkeypatch.setenv("CREDITLEDGER_STRIPE_API_KEY", key)
        monkeypatch.setenv("CREDITLEDGER_STRIPE_ENVIRONMENT", environment)
        assert load_settings().environment_of("stripe") == environment

    def test_each_provider_has_its_own(self) -> None:
        settings = Settings(stripe_environment="production")
        assert settings.environment_of("stripe") == "production"
        assert settings.environment_of("polar") == "sandbox"
