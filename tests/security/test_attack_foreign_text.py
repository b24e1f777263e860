"""Hostile text of servers, receivers and people: it is stored as plain text, and stops nothing."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connections

from apps.integrity.plain import reason_of_error

PERSONAL = "ann@example.com"
ON_BOTH_ENGINES = ("default", "test_lite")


@pytest.mark.parametrize("alias", ON_BOTH_ENGINES)
def test_a_servers_refusal_is_described_without_the_row(committed, alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE hostile (email text CONSTRAINT one UNIQUE)")
        try:
            cursor.execute("INSERT INTO hostile VALUES (%s)", [PERSONAL])
            with pytest.raises(IntegrityError) as caught:
                cursor.execute("INSERT INTO hostile VALUES (%s)", [PERSONAL])
        finally:
            cursor.execute("DROP TABLE hostile")
    said = {
        "default": "IntegrityError 23505 (table hostile, constraint one)",
        "test_lite": "IntegrityError SQLITE_CONSTRAINT_UNIQUE",
    }
    assert reason_of_error(caught.value) == said[alias]
