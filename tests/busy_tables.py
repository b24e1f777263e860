"""A table that another session has locked, as while somebody alters it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def locked_table(using: str, table: str) -> Iterator[None]:
    """Let nobody else read the table in the block."""
    held, over = threading.Event(), threading.Event()
    connection = connections[using]
    locks = f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
    if connection.vendor == "mysql":
        locks = f"LOCK TABLES {table} WRITE"

    def hold() -> None:
        try:
            with transaction.atomic(using), connections[using].cursor() as cursor:
                cursor.execute(locks)
                held.set()
                over.wait(30)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    try:
        yield
    finally:
        over.set()
        thread.join()
