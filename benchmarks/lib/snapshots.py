"""A database as it was when it was kept: each way gets the same pages, without anybody's bloat."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psycopg
from django.db import connections

from sandbox import environment, roles


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The database behind an alias. Nobody else may be connected while it is kept."""

    alias: str

    @classmethod
    def of(cls, alias: str) -> Snapshot:
        """Keep the database as it is now."""
        kept = cls(alias)
        name = kept.name
        kept._run(f'CREATE DATABASE "{name}_kept" TEMPLATE "{name}" STRATEGY FILE_COPY')
        return kept

    @property
    def name(self) -> str:
        """The database's."""
        return str(connections[self.alias].settings_dict["NAME"])

    def restore(self) -> None:
        """Put it back; whoever is connected loses the connection."""
        name = self.name
        self._run(
            f'DROP DATABASE "{name}" WITH (FORCE)',
            f'CREATE DATABASE "{name}" TEMPLATE "{name}_kept" STRATEGY FILE_COPY'
            f" OWNER {roles.OWNER}",
        )

    def drop(self) -> None:
        """Keep it no longer."""
        self._run(f'DROP DATABASE "{self.name}_kept"')

    def _run(self, *statements: str) -> None:
        connections[self.alias].close()
        # Ending the workers' sessions takes a superuser.
        url = os.environ[environment.SUPERUSERS[self.alias]]
        with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
