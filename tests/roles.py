"""Database roles made for a test module, with what `integrity grants` prints and nothing else."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.accounts.management.commands.grant_roles import of_the_site
from apps.integrity.control import grants
from apps.integrity.control.grants import Kind
from tests import superuser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    LogIn = Callable[[str], Any]

SITE = "the_site"
#: What each is granted. A "site" reads and writes its own tables, too, as the sample's does.
KINDS: dict[str, tuple[Kind, ...] | None] = {
    "web": (Kind.WEB,),
    "dashboard": (Kind.DASHBOARD,),
    "site": (Kind.WEB, Kind.DASHBOARD),
    "worker": (Kind.WORKER,),
    "beat": (Kind.BEAT,),
    "nobody": None,
}


def on_postgresql() -> list[str]:
    return [alias for alias in connections if connections[alias].vendor == "postgresql"]


def granted(alias: str, role: str, *kinds: Kind) -> tuple[str, ...]:
    found = {each.database: each.statements for each in grants.grants(role, *kinds)}
    return found.get(alias, ())


def run(alias: str, *statements: str) -> None:
    """As whoever Django is logged in as, in one transaction."""
    with connections[alias].cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            for each in statements:
                cursor.execute(each)
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'


@contextmanager
def made() -> Iterator[LogIn]:
    """Make the roles; gives what logs in as one of them, for the length of a block."""
    secret = secrets.token_hex(8)
    # A name that ends the statement, where somebody forgets to quote it.
    roles = {each: f'{each} "{secret}"; --' for each in KINDS}
    try:
        for alias in on_postgresql():
            for kind, role in roles.items():
                _create(alias, role, secret)
                run(alias, *_of(kind, alias, role))

        @contextmanager
        def logged_in(kind: str) -> Iterator[None]:
            with pytest.MonkeyPatch.context() as patch:
                for alias in on_postgresql():
                    connections[alias].close()
                    patch.setitem(connections[alias].settings_dict, "USER", roles[kind])
                    patch.setitem(connections[alias].settings_dict, "PASSWORD", secret)
                try:
                    yield
                finally:
                    for alias in on_postgresql():
                        connections[alias].close()

        yield logged_in
    finally:
        for role in map(quoted, roles.values()):
            for alias in on_postgresql():
                superuser.run(alias, f"DROP OWNED BY {role}")
            for alias in on_postgresql():
                superuser.run(alias, f"DROP ROLE IF EXISTS {role}")


def _of(kind: str, alias: str, role: str) -> Iterator[str]:
    if kinds := KINDS[kind]:
        yield from granted(alias, role, *kinds)
    if kind == "site":
        for each in of_the_site(alias, SITE):
            yield each.replace(f'TO "{SITE}"', f"TO {quoted(role)}")


def _create(alias: str, role: str, password: str) -> None:
    """Some databases share a server, and roles belong to the server."""
    with superuser.session(alias) as own:
        if not own.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
            own.execute(f"CREATE ROLE {quoted(role)} LOGIN PASSWORD '{password}'".encode())
