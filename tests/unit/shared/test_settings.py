"""Settings are read once; a wrong one is named and never shown."""

from __future__ import annotations

import pytest

from shared.settings import AlertSettings, Settings, SettingsError

STORES = {
    "DATABASE_URL": "postgresql://hoplink:secret@localhost:5432/hoplink",
    "REDIS_URL": "redis://:secret@localhost:6379/0",
}
SECRET = "s3cr3t"


def test_the_stores_are_all_that_must_be_set() -> None:
    settings = Settings.from_env(STORES)
    assert settings.database_url.get_secret_value() == STORES["DATABASE_URL"]
    assert settings.base_url == "http://localhost:5001"


def test_names_everything_that_is_missing() -> None:
    with pytest.raises(SettingsError, match=r"DATABASE_URL: is required; REDIS_URL: is required"):
        Settings.from_env({})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Settings.from_env({**STORES, "API_PORT": ""}).api_port == 8001


def test_other_variables_do_not_matter() -> None:
    assert Settings.from_env({**STORES, "PATH": "/bin", "api_port": "1"}).api_port == 8001


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://root:{SECRET}@localhost/db"),
        ("DATABASE_URL", f"postgresql://root:{SECRET}@/db"),
        ("DATABASE_URL", f"postgresql://root:{SECRET}@[localhost/db"),
        ("DATABASE_URL", f"postgresql://root:{SECRET}@local\u2100host/db"),
        ("DATABASE_URL", f"postgresql://localhost:{SECRET}/db"),
        ("DATABASE_URL", f"postgresql://root:{SECRET}@localhost:99999/db"),
        ("REDIS_URL", f"http://:{SECRET}@localhost/0"),
        ("REDIS_URL", f"redis://:{SECRET}@/0"),
        ("REDIS_URL", f"redis://localhost:{SECRET}"),
        ("BASE_URL", SECRET),
        ("BASE_URL", f"https://example.com/?{SECRET}"),
        ("BASE_URL", f"https://example.com:{SECRET}"),
        ("LOG_LEVEL", SECRET),
        ("REDIRECTOR_PORT", SECRET),
        ("REDIRECTOR_PORT", "0"),
        ("API_PORT", "65536"),
        ("API_WORKERS", "1.5"),
        ("LOCAL_CACHE_LINKS", "-1"),
        ("STORE_BUDGET_MS", "9"),
        # More than PostgreSQL takes, or can subtract from the time.
        ("STATEMENT_TIMEOUT_MS", "9999999999"),
        ("CHANGE_LOG_RETENTION_SECONDS", "999999999999"),
        ("SMTP_HOST", f"mail/{SECRET}"),
        ("SMTP_USER", f"{SECRET}\nx"),
        ("SMTP_PASSWORD", f"{SECRET}\nx"),
        ("SMTP_PASSWORD", f"{SECRET} "),
        ("ALERT_EMAIL_FROM", SECRET),
        ("ALERT_EMAIL_FROM", f"{{{{ {SECRET} }}}}@example.com"),
        ("ALERT_EMAIL_TO", f"sre@example.com, {SECRET}"),
        ("ALERT_EMAIL_TO", f"sre@example.com\r\nBcc: {SECRET}@example.com"),
        ("ALERT_EMAIL_TO", f"sre@example.com,,{SECRET}@example.com"),
        ("ALERT_COOLDOWN_SECONDS", "0"),
        ("RUNBOOK_URL", f"x\n{SECRET}"),
    ],
)
def test_names_a_wrong_setting_and_keeps_its_value_to_itself(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({**STORES, name: value})
    assert str(raised.value).startswith(f"{name}: ")
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_secrets_do_not_show_in_what_is_logged() -> None:
    assert "secret" not in repr(Settings.from_env(STORES))


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_every_setting_says_what_it_is_for(field: str) -> None:
    assert Settings.model_fields[field].description


def test_a_slash_at_the_end_of_the_base_url_does_not_matter() -> None:
    assert Settings.from_env({**STORES, "BASE_URL": "https://sho.rt/"}).base_url == "https://sho.rt"


MAIL = {
    "SMTP_HOST": "mail.example.com",
    "ALERT_EMAIL_FROM": "Hoplink <alerts@example.com>",
    "ALERT_EMAIL_TO": "sre@example.com,boss@example.com",
}


def test_email_is_configured_by_a_server_a_sender_and_recipients() -> None:
    settings = AlertSettings.from_env(MAIL)

    assert settings.email_configured
    assert settings.alert_email_to == "sre@example.com, boss@example.com"
    assert settings.smtp_tls, "a password leaves by TLS unless somebody decides otherwise"


@pytest.mark.parametrize("name", sorted(MAIL))
def test_email_is_off_when_one_of_them_is_missing(name: str) -> None:
    assert not AlertSettings.from_env({**MAIL, name: ""}).email_configured
