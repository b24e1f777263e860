"""The sample project's database roles, which its own script creates on every server.

Each role has a random password. Here, the owner of the tables may create databases, because the
tests create theirs.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import environment

OWNER = "integrity_owner"
#: Role → the prefix of the variables with its URLs. The owner's have no prefix.
PREFIXES = {
    OWNER: "",
    "integrity_web": environment.WEB,
    "integrity_worker": environment.WORKER,
}
SCRIPT = Path(__file__).resolve().parent.parent / "deploy" / "postgresql" / "roles.sql"


@dataclass(frozen=True, slots=True)
class Passwords:
    """A password for each role and one for the superuser."""

    superuser: str = field(default_factory=lambda: secrets.token_hex(16))
    roles: dict[str, str] = field(
        default_factory=lambda: {role: secrets.token_hex(16) for role in PREFIXES}
    )

    def of(self, role: str) -> str:
        """Return the password of a role; for any other name, the superuser's."""
        return self.roles.get(role, self.superuser)

    def environment(self) -> dict[str, str]:
        """Return the environment for psql and the script."""
        named = {f"{role.upper()}_PASSWORD": secret for role, secret in self.roles.items()}
        return {**os.environ, **named, "PGPASSWORD": self.superuser}


def script(database: str) -> list[str | Path]:
    """Return psql's arguments that create the database and the roles, and set its owner."""
    return [
        *("-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname=postgres"),
        *("-c", f'CREATE DATABASE "{database}"'),
        *("-c", f"\\connect {database}"),
        *("-f", SCRIPT),
        *("-c", f"ALTER ROLE {OWNER} CREATEDB"),
    ]
