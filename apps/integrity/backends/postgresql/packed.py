"""Arrays of keys in PostgreSQL's binary form, from one server to another and never opened.

The servers spend no time on writing and reading numbers as text, which is a fifth of a scan, and
half of one whose keys are UUIDs. Needs psycopg 3; nothing else imports this module.
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

#: Types that have the same number and the same binary form in every database.
KINDS = frozenset({"smallint", "integer", "bigint", "uuid", "varchar", "text"})


class Packed(bytes):
    """An array as the server sent it."""


class _Load(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Packed:
        return Packed(data)


class _Dump(Dumper):
    """Names no type: that is what the cast in the statement is for."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> Packed:
        return obj


class _Cursor(psycopg.Cursor[Any]):
    """Binary both ways, and never prepared: a prepared plan takes an array for one of ten keys."""

    def execute(self, query: Any, params: Any = None, **_: Any) -> _Cursor:
        return super().execute(query, params, prepare=False, binary=True)


def cursor(using: str, kind: str) -> CursorWrapper:
    """A cursor of that connection that gives and takes arrays of `kind` as `Packed`."""
    wrapper = connections[using].cursor()
    plain, wrapper.cursor = wrapper.cursor, _Cursor(connections[using].connection)
    plain.close()
    adapters = wrapper.cursor.adapters
    adapters.register_dumper(Packed, _Dump)
    adapters.register_loader(psycopg.adapters.types[kind].array_oid, _Load)
    return wrapper
