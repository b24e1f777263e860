"""Which implementation serves a database. They have no state, so each alias needs one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from django.db import connections, transaction

from ..relations.keys import writes_text
from ..relations.stored import converts_as_django

if TYPE_CHECKING:
    from django.db.transaction import Atomic

    from ..relations.relation import ForeignKey
    from .barriers import BarrierBackend
    from .base import LogBackend, RowBackend
    from .key_pages import KeyReader
    from .replica import LoadBackend


@functools.cache
def log_backend(alias: str) -> LogBackend:
    """Return the statements on the log in the database `alias`."""
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        from .postgresql.log import PostgreSQLLog

        return PostgreSQLLog()
    if vendor == "mysql":
        from .mysql.log import MySQLLog

        return MySQLLog()
    from .portable.log import PortableLog

    return PortableLog()


@functools.cache
def row_backend(alias: str) -> RowBackend:
    """Return the statements on the project's rows in the database `alias`."""
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        from .postgresql.rows import PostgreSQLRows

        return PostgreSQLRows()
    if vendor == "mysql":
        from .mysql.rows import MySQLRows

        return MySQLRows()
    from .portable.rows import PortableRows

    return PortableRows()


@functools.cache
def barrier_backend(alias: str) -> BarrierBackend:
    """Return the questions about transactions of the server of `alias`."""
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        from .postgresql.barriers import PostgreSQLBarriers

        return PostgreSQLBarriers()
    if vendor == "mysql":
        from .mysql.barriers import MySQLBarriers

        return MySQLBarriers()
    from .portable.barriers import NoBarriers

    return NoBarriers()


@functools.cache
def transaction_class(alias: str) -> type[Atomic]:
    """Return what begins a transaction of this app in the database `alias`, for `atomic`."""
    vendor = connections[alias].vendor
    if vendor == "mysql":
        from .mysql.session import ReadCommitted

        return ReadCommitted
    if vendor == "sqlite":
        from .writing import WriteTransaction

        return WriteTransaction
    return transaction.Atomic


@functools.cache
def load_backend(alias: str) -> LoadBackend:
    """Return the questions about the load of the server of `alias`."""
    if connections[alias].vendor == "postgresql":
        from .postgresql.load import PostgreSQLLoad

        return PostgreSQLLoad()
    from .portable.load import PortableLoad

    return PortableLoad()


def key_reader(field: ForeignKey, *, child: str, parent: str) -> KeyReader:
    """Return the reader for keys in the database `child` that refer to rows in `parent`.

    PostgreSQL's own reader serves where both are PostgreSQL and write the keys alike; MySQL's where
    the child is on MySQL or MariaDB, whatever the parents are on.
    """
    vendors = {connections[child].vendor, connections[parent].vendor}
    as_django = converts_as_django(field) and converts_as_django(field.target_field)
    as_django = as_django and not writes_text(field)
    if vendors == {"postgresql"} and as_django:
        from .postgresql.keys import PostgreSQLKeys

        return PostgreSQLKeys()
    if connections[child].vendor == "mysql" and as_django:
        from .mysql.keys import MySQLKeys

        return MySQLKeys()
    from .portable.keys import PortableKeys

    return PortableKeys()


def forget() -> None:
    """Choose anew for every alias: `DATABASES` has changed."""
    for chosen in (log_backend, row_backend, barrier_backend, transaction_class, load_backend):
        chosen.cache_clear()
