"""G8: what a claim reads and locks does not grow with the backlog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from apps.integrity import capture, dispatch, log

if TYPE_CHECKING:
    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")


def test_a_claim_reads_and_locks_at_most_its_limit(captured: Captured) -> None:
    capture.record((User, range(1, 8)), using="default")
    dispatch.sweep("default")
    with captured:
        claim = log.claim("shop_db", using="default", limit=3, lease_seconds=60)
    assert claim is not None
    assert len(claim.cascades) == 3
    [locks] = [sql for sql in captured["default"] if "SKIP LOCKED" in sql]
    assert "LIMIT 3" in locks
    # With the statistics of an empty log, a join reads all deletions once for each cascade.
    assert not [sql for sql in captured["default"] if "JOIN" in sql]
