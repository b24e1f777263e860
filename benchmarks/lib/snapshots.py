"""Copies of a database, so that each variant starts with the same pages and no bloat."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psycopg
from django.db import connections

from sandbox import environment, roles


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of an alias's database. No other session may be connected while it is taken."""

    alias: str

    @classmethod
    def of(cls, alias: str) -> Snapshot:
        """Copy the current database."""
        kept = cls(alias)
        name = kept.name
        kept._run(
            f'CREATE DATABASE "{name}_kept" TEMPLATE "{name}" STRATEGY FILE_COPY'
            f" OWNER {roles.OWNER}"
        )
        return kept

    @property
    def environment(self) -> dict[str, str]:
        """Return the variable with which another process uses the copy as that alias."""
        variable = environment.VARIABLES[self.alias]
        return {variable: f"{os.environ[variable]}_kept"}

    @property
    def name(self) -> str:
        """The name of the database."""
        return str(connections[self.alias].settings_dict["NAME"])

    def restore(self) -> None:
        """Replace the database with the copy. This ends all other sessions."""
        name = self.name
        self._run(
            f'DROP DATABASE "{name}" WITH (FORCE)',
            f'CREATE DATABASE "{name}" TEMPLATE "{name}_kept" STRATEGY FILE_COPY'
            f" OWNER {roles.OWNER}",
        )

    def drop(self) -> None:
        """Drop the copy. This ends all sessions in it."""
        self._run(f'DROP DATABASE "{self.name}_kept" WITH (FORCE)')

    def _run(self, *statements: str) -> None:
        connections[self.alias].close()
        # Only a superuser may end the workers' sessions.
        url = os.environ[environment.SUPERUSERS[self.alias]]
        with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
