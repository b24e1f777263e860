"""G2: a parent that is being inserted while a scan looks is never condemned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.integrity import relations, scan
from apps.integrity.scan import repair, scan_pass
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

LEAF = "right.Leaf.owner"


def test_a_transaction_that_began_after_the_scan_did_is_waited_for(
    tune: Tune, converge: Callable[[], Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(grace_seconds=0.001)
    Owner.objects.create()
    key = Owner.objects.create().pk + 1
    Leaf.objects.create(owner_id=key)
    other = connections["default"].copy()
    look = scan_pass.Pass._check

    def insert_and_look(one: Any, step: Any) -> None:
        if not other.in_atomic_block and other.connection is None:
            other.set_autocommit(False)
            with other.cursor() as cursor:
                cursor.execute("INSERT INTO parents_owner (id, name) VALUES (%s, 'x')", [key])
        look(one, step)

    monkeypatch.setattr(scan_pass.Pass, "_check", insert_and_look)
    try:
        [seen], _ = scan.scan("test_right", labels=[LEAF], seconds=60)
        assert seen.suspects == 1
        repair.repair([relations.catalogue().relation(LEAF)])
        converge()
        other.commit()
    finally:
        other.close()
    assert Owner.objects.filter(pk=key).exists()
    assert Leaf.objects.filter(owner_id=key).exists()
