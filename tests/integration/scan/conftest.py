"""What tests of the scan share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def truncated(committed: None) -> Iterator[None]:
    """Empty a log of many thousand deletions at once.

    `committed` deletes row by row, with a check of the foreign key for each, whose cached plan was
    made for an empty table.
    """
    yield
    if connections["default"].vendor == "postgresql":  # MySQL plans each statement anew
        with connections["default"].cursor() as cursor:
            cursor.execute("TRUNCATE integrity_deletion, integrity_cascade, integrity_suspect")
