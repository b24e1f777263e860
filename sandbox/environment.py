"""The environment variables of the project: their names, which are set, and default values."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The database of each alias, and the variable with its URL.
DATABASES = {"default": "main", "blog_db": "blog", "shop_db": "shop"}
VARIABLES = {alias: f"DATABASE_URL_{alias.upper()}" for alias in DATABASES}
VARIABLES["default"] = "DATABASE_URL"
BROKER = "BROKER_URL"
#: Variables with the superuser's URLs. Only tests use them, never the product.
SUPERUSERS = {alias: f"SUPERUSER_{variable}" for alias, variable in VARIABLES.items()}
#: Prefixes of the variables with the URLs of a role. Without a prefix, the role is the owner.
WEB, WORKER = "WEB_", "WORKER_"
#: URLs of a port on which no server listens.
NO_DATABASES = {
    VARIABLES[alias]: f"postgresql://nobody@127.0.0.1:1/{database}"
    for alias, database in DATABASES.items()
}
NOWHERE = {**NO_DATABASES, BROKER: "redis://127.0.0.1:1/0"}


def given(*names: str) -> dict[str, str]:
    """Return these environment variables if all of them are set, otherwise an empty dict."""
    values = {name: os.environ[name] for name in names if os.environ.get(name)}
    return values if len(values) == len(names) else {}


def of_roles() -> dict[str, str]:
    """Return the URLs of the web and worker roles that the environment sets."""
    names = [f"{role}{name}" for role in (WEB, WORKER) for name in VARIABLES.values()]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def as_role(role: str, values: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that logs in as `role`, without other roles' URLs.

    `values` is the environment to start from; the default is that of this process. If it has no
    URL for the role, the process gets the owner's.
    """
    result = dict(os.environ if values is None else values)
    own = {name: result.get(f"{role}{name}") or result.get(name) for name in VARIABLES.values()}
    prefixed = {f"{prefix}{name}" for prefix in (WEB, WORKER) for name in VARIABLES.values()}
    result = {name: url for name, url in result.items() if name not in prefixed}
    for name in SUPERUSERS.values():
        result.pop(name, None)
    return result | {name: url for name, url in own.items() if url}


def for_django(*, debug: bool) -> dict[str, str]:
    """Return the settings' variables other than the servers' URLs, for local use only."""
    values = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "DEBUG": str(debug).lower(),
        "HTTPS": "false",
        "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
    }
    return {name: os.environ.get(name, value) for name, value in values.items()}


def inherited() -> list[str]:
    """Return the variables that the parent process set to a placeholder URL."""
    return [name for name, value in NOWHERE.items() if os.environ.get(name) == value]


def placeholders() -> dict[str, str]:
    """Return URLs that let the settings load without servers. Connections to them are refused."""
    return {name: os.environ.get(name) or value for name, value in NOWHERE.items()}
