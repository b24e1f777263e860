"""Transactions of SQLite that begin as writers.

Note [Readers that write]: by default, Django begins a transaction of SQLite as a reader. If such a
transaction writes after another process has written, it fails at once, whatever its timeout. A step
reads first, so beside an application that writes it would fail nearly every time. A transaction
that begins as a writer waits for its turn instead, up to the timeout (5 s by default).
"""

from __future__ import annotations

from django.db.transaction import Atomic, get_connection


class WriteTransaction(Atomic):
    """A transaction of SQLite that will write; inside another one, a part of it."""

    def __enter__(self) -> None:
        connection = get_connection(self.using)
        if connection.in_atomic_block:
            super().__enter__()
            return
        connection.ensure_connection()  # which sets the mode that the project chose
        chosen = connection.transaction_mode  # SQLite's alone
        connection.transaction_mode = chosen or "IMMEDIATE"
        try:
            super().__enter__()
        finally:
            connection.transaction_mode = chosen
