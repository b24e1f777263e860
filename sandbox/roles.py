"""The database roles of the sample project, made by its own script for every server.

Takes a server's superuser; gives the URLs of the roles, each with a random password of its own.
The tables' owner may make databases here: tests make theirs.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import environment

OWNER = "integrity_owner"
#: Role → the prefix of the variables that hold its URLs. The owner's have none.
PREFIXES = {
    OWNER: "",
    "integrity_web": environment.WEB,
    "integrity_worker": environment.WORKER,
}
SCRIPT = Path(__file__).resolve().parent.parent / "deploy" / "postgresql" / "roles.sql"


@dataclass(frozen=True, slots=True)
class Passwords:
    """One for each role, and one for the superuser, who starts and stops the servers."""

    superuser: str = field(default_factory=lambda: secrets.token_hex(16))
    roles: dict[str, str] = field(
        default_factory=lambda: {role: secrets.token_hex(16) for role in PREFIXES}
    )

    def of(self, role: str) -> str:
        """Return the password of a role; of any other name, the superuser's."""
        return self.roles.get(role, self.superuser)

    def environment(self) -> dict[str, str]:
        """Return what psql and the script read."""
        named = {f"{role.upper()}_PASSWORD": secret for role, secret in self.roles.items()}
        return {**os.environ, **named, "PGPASSWORD": self.superuser}


def script(database: str) -> list[str | Path]:
    """Return psql's arguments that make the database and the roles, and give it to the owner."""
    return [
        *("-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname=postgres"),
        *("-c", f'CREATE DATABASE "{database}"'),
        *("-c", f"\\connect {database}"),
        *("-f", SCRIPT),
        *("-c", f"ALTER ROLE {OWNER} CREATEDB"),
    ]
