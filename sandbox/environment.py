"""The environment variables the project reads: which are given, and values for the rest."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The database of each alias, and the variable that carries its URL.
DATABASES = {"default": "main", "blog_db": "blog", "shop_db": "shop"}
VARIABLES = {alias: f"DATABASE_URL_{alias.upper()}" for alias in DATABASES}
VARIABLES["default"] = "DATABASE_URL"
BROKER = "BROKER_URL"
#: Where the sandbox's superuser logs in: for tests that need one, never for the product.
SUPERUSERS = {alias: f"SUPERUSER_{variable}" for alias, variable in VARIABLES.items()}
#: Prefixes of the same variables with the URLs of a process's own role; without one, the owner's.
WEB, WORKER = "WEB_", "WORKER_"
#: Where nobody listens.
NO_DATABASES = {
    VARIABLES[alias]: f"postgresql://nobody@127.0.0.1:1/{database}"
    for alias, database in DATABASES.items()
}
NOWHERE = {**NO_DATABASES, BROKER: "redis://127.0.0.1:1/0"}


def given(*names: str) -> dict[str, str]:
    """Return those variables from the environment if all of them are set, else nothing."""
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    return found if len(found) == len(names) else {}


def of_roles() -> dict[str, str]:
    """Return the URLs of web and workers, as far as the environment has some."""
    names = [f"{role}{name}" for role in (WEB, WORKER) for name in VARIABLES.values()]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def as_role(role: str, values: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that logs in as `role`, and that knows no other URLs.

    It is `values`, or ours. Where it names no URLs of roles, everybody has the same ones.
    """
    found = dict(os.environ if values is None else values)
    own = {name: found.get(f"{role}{name}") or found.get(name) for name in VARIABLES.values()}
    others = {f"{each}{name}" for each in (WEB, WORKER) for name in VARIABLES.values()}
    found = {name: url for name, url in found.items() if name not in others}
    for name in SUPERUSERS.values():
        found.pop(name, None)
    return found | {name: url for name, url in own.items() if url}


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
