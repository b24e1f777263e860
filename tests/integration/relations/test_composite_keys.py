"""Children whose primary key is composite, with receivers and without."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db.models.signals import post_delete

from apps.integrity import relations
from apps.integrity.control.grants.rows import cascaded
from apps.integrity.models import Cascade
from apps.integrity.relations.plan import Strategy, plan_for
from apps.integrity.report import receipts
from tests.kinds.left.models import Seat, Ticket
from tests.kinds.lite.models import Seat as LiteSeat
from tests.kinds.parents.models import Hall

pytestmark = pytest.mark.usefixtures("committed")
CHILDREN = [Seat, Ticket, LiteSeat]


def name_of(model: Any) -> str:
    return str(model._meta.label)


def fill(child: Any, hall: Hall, rows: int) -> None:
    for number in range(rows):
        if child is Ticket:
            child.objects.create(hall=hall, number=uuid.uuid4())
        else:
            child.objects.create(row=f"r{hall.pk}"[-3:], number=number, hall=hall)


@pytest.mark.parametrize("child", CHILDREN, ids=name_of)
@pytest.mark.parametrize("halls", [1, 3])
@pytest.mark.parametrize("strategy", [Strategy.SET_BASED, Strategy.COLLECTOR])
def test_their_rows_go_and_each_is_counted(
    converge: Any, child: Any, halls: int, strategy: Strategy
) -> None:
    gone: list[Any] = []

    def receive(instance: Any, **_: Any) -> None:
        gone.append(instance.pk)

    if strategy is Strategy.COLLECTOR:
        post_delete.connect(receive, sender=child)
    try:
        label = f"{child._meta.label}.hall"
        assert plan_for(relations.catalogue().relation(label)).strategy is strategy
        kept, *others = [Hall.objects.create() for _ in range(halls + 1)]
        for each in (kept, *others):
            fill(child, each, 3)
        Hall.objects.filter(pk__in=[each.pk for each in others]).delete()
        assert converge() == {label: 3 * halls}
    finally:
        post_delete.disconnect(receive, sender=child)
    assert {row.hall_id for row in child.objects.all()} == {kept.pk}
    assert child.objects.count() == 3
    assert len(gone) == (3 * halls if strategy is Strategy.COLLECTOR else 0)
    assert set(Cascade.objects.values_list("state", flat=True)) == {"done"}
    [receipt] = receipts.receipts_of("parents.Hall", str(others[0].pk))
    assert sum(each["rows"].get(label, 0) for each in receipt["cascades"]) == 3


def test_grants_name_each_column_of_the_key() -> None:
    [relation] = [each for each in relations.catalogue().relations if each.child is Seat]
    found = [*cascaded(plan_for(relation), "test_left", relations.catalogue())]
    read = {
        each.column for each in found if (each.table, each.privilege) == ("left_seat", "SELECT")
    }
    assert {"row", "number"} <= read
    assert [each.column for each in found if each.privilege == "UPDATE"] == ["row"]
