"""The settings, run anew with an environment of our choice."""

from __future__ import annotations

import json
import logging
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.logs import JsonFormatter

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = {
    "SECRET_KEY": "a-test-key-of-more-than-fifty-characters-0123456789-ABCDEFGHIJ",
    "DATABASE_URL": "postgres://someone:secret@127.0.0.1:5432/main",
    "DATABASE_URL_BLOG_DB": "postgres://someone:secret@127.0.0.1:5432/blog",
    "DATABASE_URL_SHOP_DB": "postgres://someone:secret@127.0.0.1:5432/shop",
    "BROKER_URL": "redis://127.0.0.1:6379/0",
}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def run_settings(environment: dict[str, str]) -> dict[str, object]:
    """Run the module in this process; return its names, which no other test sees."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return runpy.run_path(str(ROOT / "config" / "settings.py"))


def loaded(**environment: str) -> dict[str, object]:
    return run_settings(REQUIRED | environment)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_variable_stops_the_start_and_is_named(name: str, value: str | None) -> None:
    environment = {key: text for key, text in REQUIRED.items() if key != name}
    if value is not None:
        environment[name] = value
    with pytest.raises(ImproperlyConfigured) as raised:
        run_settings(environment)
    _, names, *remedy = str(raised.value).splitlines()
    assert names == name
    assert "./run up" in " ".join(remedy)


def test_the_start_ends_with_the_name_of_what_is_missing() -> None:
    done = python("-c", "import config.settings")
    assert done.returncode == 1
    _, said = done.stderr.split("ImproperlyConfigured: ")
    assert said.splitlines()[1].startswith("SECRET_KEY, ")
    assert "./run up" in said


def test_an_unknown_log_format_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        run_settings(REQUIRED | {"LOG_FORMAT": "xml"})
    assert "'xml'" in str(raised.value)
    assert "'json'" in str(raised.value)


@pytest.mark.parametrize("name", REQUIRED)
def test_every_required_variable_is_in_the_example(name: str) -> None:
    example = (ROOT / ".env.example").read_text()
    assert re.search(rf"^(# )?{name}=", example, re.MULTILINE)


def test_nothing_else_reads_the_environment() -> None:
    reads = re.compile(
        r"os\.(environ(?!\.setdefault\(\"DJANGO_SETTINGS_MODULE\")|getenv)|environ\.Env"
    )
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("config", "workers", "apps")
        for path in (ROOT / folder).rglob("*.py")
        if reads.search(path.read_text())
    }
    # Flower is given the broker and its login, and no settings. The others look at the variables by
    # which Celery replaces a project's broker.
    celery = {"apps/integrity/routing.py", "apps/integrity/checks/celery_broker.py"}
    assert readers == {"config/settings.py", "workers/flower.py", *celery}


def test_the_deployment_check_is_clean_in_production() -> None:
    done = python(
        "manage.py", "check", "--deploy", "--fail-level=WARNING",
        **REQUIRED, ALLOWED_HOSTS="example.org",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no issues (0 silenced)" in done.stdout


def test_production_is_the_default() -> None:
    settings = loaded()
    assert settings["DEBUG"] is False
    assert settings["HTTPS"] is True
    assert settings["SESSION_COOKIE_SECURE"] is settings["CSRF_COOKIE_SECURE"] is True
    assert settings["SECURE_SSL_REDIRECT"] is True
    assert "SECURE_PROXY_SSL_HEADER" not in settings


def test_https_can_be_switched_off_for_a_site_on_loopback() -> None:
    settings = loaded(HTTPS="false")
    assert settings["SECURE_SSL_REDIRECT"] is settings["SESSION_COOKIE_SECURE"] is False
    assert settings["SECURE_HSTS_SECONDS"] == 0


def databases(**environment: str) -> dict[str, dict[str, object]]:
    found = loaded(**environment)["DATABASES"]
    assert isinstance(found, dict)
    return found


def test_each_alias_has_its_own_database_with_bounded_waits() -> None:
    found = databases()
    assert {alias: each["NAME"] for alias, each in found.items()} == {
        "default": "main",
        "blog_db": "blog",
        "shop_db": "shop",
    }
    for each in found.values():
        assert each["CONN_HEALTH_CHECKS"] is True
        assert each["CONN_MAX_AGE"] == 60
        assert each["OPTIONS"] == {
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "tcp_user_timeout": 10_000,
            "options": (
                "-c lock_timeout=2s -c statement_timeout=15s"
                " -c idle_in_transaction_session_timeout=30s"
            ),
        }


def test_options_of_the_url_win() -> None:
    url = REQUIRED["DATABASE_URL"] + "?connect_timeout=9&sslmode=require"
    options = databases(DATABASE_URL=url)["default"]["OPTIONS"]
    assert isinstance(options, dict)
    assert options["connect_timeout"] == 9
    assert options["sslmode"] == "require"
    assert options["keepalives_idle"] == 10


def test_a_log_record_is_one_line_whatever_it_says() -> None:
    forged = "deleted\nlevel=INFO everything is fine"
    record = logging.LogRecord("integrity.log", logging.WARNING, "", 0, "%s", (forged,), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == forged
    assert json.loads(line)["level"] == "WARNING"


def test_a_logged_exception_stays_on_the_line() -> None:
    error = ValueError("no")
    exc_info = (ValueError, error, None)
    record = logging.LogRecord("integrity", logging.ERROR, "", 0, "failed", (), exc_info)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "ValueError: no" in json.loads(line)["exception"]
