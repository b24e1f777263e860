"""The environment variables the project reads: which are given, and values for the rest."""

from __future__ import annotations

import os
import secrets

# The database of each alias, and the variable that carries its URL.
DATABASES = {"default": "main", "blog_db": "blog", "shop_db": "shop"}
VARIABLES = {alias: f"DATABASE_URL_{alias.upper()}" for alias in DATABASES}
VARIABLES["default"] = "DATABASE_URL"
BROKER = "BROKER_URL"
#: Where the sandbox's superuser logs in: for tests that need one, never for the product.
SUPERUSERS = {alias: f"SUPERUSER_{variable}" for alias, variable in VARIABLES.items()}
#: Where nobody listens.
NOWHERE = {
    **{
        VARIABLES[alias]: f"postgresql://nobody@127.0.0.1:1/{database}"
        for alias, database in DATABASES.items()
    },
    BROKER: "redis://127.0.0.1:1/0",
}


def given(*names: str) -> dict[str, str]:
    """Return those variables from the environment if all of them are set, else nothing."""
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    return found if len(found) == len(names) else {}


def for_django(*, debug: bool) -> dict[str, str]:
    """Return what the settings need beside the servers, for use on this machine only."""
    values = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "DEBUG": str(debug).lower(),
        "HTTPS": "false",
        "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
    }
    return {name: os.environ.get(name, value) for name, value in values.items()}


def inherited() -> list[str]:
    """Return which variables hold but a placeholder, from the process that started this one."""
    return [name for name, value in NOWHERE.items() if os.environ.get(name) == value]


def placeholders() -> dict[str, str]:
    """Return URLs with which settings load although nothing runs: whoever connects is refused."""
    return {name: os.environ.get(name) or value for name, value in NOWHERE.items()}
