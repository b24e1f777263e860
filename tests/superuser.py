"""A superuser beside the role that the tests run as: for what only one may do, named one by one.

Of the sandbox's servers it is the sandbox's own; of servers that the environment names, whoever
`DATABASE_URL...` logs in.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from django.db import connections

from sandbox.environment import SUPERUSERS, VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator


def credentials(alias: str) -> tuple[str, str]:
    """Name and password, on the server of an alias."""
    port = str(connections[alias].settings_dict["PORT"])
    for home, variable in VARIABLES.items():
        url = urlsplit(os.environ.get(SUPERUSERS[home]) or os.environ[variable])
        if str(url.port) == port:
            return url.username or "", url.password or ""
    raise AssertionError(f"no server of the environment listens on port {port}")


def session(alias: str, *, autocommit: bool = True) -> psycopg.Connection[Any]:
    """A session in the database of an alias, beside Django's; close it."""
    there, (user, password) = connections[alias].settings_dict, credentials(alias)
    return psycopg.connect(
        host=there["HOST"],
        port=there["PORT"],
        dbname=there["NAME"],
        user=user,
        password=password,
        autocommit=autocommit,
    )


def run(alias: str, *statements: str) -> None:
    """Each in a transaction of its own, in the database of an alias."""
    with session(alias) as own:
        for each in statements:
            own.execute(each.encode())


@contextmanager
def logged_in(*aliases: str) -> Iterator[None]:
    """Django's own connections to those databases are a superuser's, for the length of a block."""
    import pytest  # processes of the project, which import this module, need none

    with pytest.MonkeyPatch.context() as patch:
        for alias in aliases:
            connections[alias].close()
            user, password = credentials(alias)
            patch.setitem(connections[alias].settings_dict, "USER", user)
            patch.setitem(connections[alias].settings_dict, "PASSWORD", password)
        try:
            yield
        finally:
            for alias in aliases:
                connections[alias].close()
