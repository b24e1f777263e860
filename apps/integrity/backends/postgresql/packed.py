"""Arrays of keys in PostgreSQL's binary format, passed from one server to another unopened.

The servers need not write and parse keys as text. That takes a fifth of the time of a scan, and
half of it for UUIDs. Needs psycopg 3, so it is imported only where that is the driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from django.db import connections
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper
    from psycopg.abc import Buffer

#: Types that have the same oid and the same binary format in every database.
KINDS = frozenset({"smallint", "integer", "bigint", "uuid", "varchar", "text"})


class Packed(bytes):
    """An array as the server sent it."""


class _Load(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Packed:
        return Packed(data)


class _Dump(Dumper):
    """Declares no type: the statement has a cast."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> Packed:
        return obj


class _Cursor(psycopg.Cursor[Any]):
    """Binary in both directions, and never prepared: a generic plan assumes arrays of ten keys."""

    def execute(self, query: Any, params: Any = None, **_: Any) -> _Cursor:
        return super().execute(query, params, prepare=False, binary=True)


def cursor(using: str, kind: str) -> CursorWrapper:
    """Return a cursor of that connection that reads and writes arrays of `kind` as `Packed`."""
    wrapper = connections[using].cursor()
    plain, wrapper.cursor = wrapper.cursor, _Cursor(connections[using].connection)
    plain.close()
    adapters = wrapper.cursor.adapters
    adapters.register_dumper(Packed, _Dump)
    adapters.register_loader(psycopg.adapters.types[kind].array_oid, _Load)
    return wrapper
