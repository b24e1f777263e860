"""What an `on_delete` is taken for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, models

from apps.integrity import relations
from apps.integrity.checks import keys
from apps.integrity.exceptions import UnusablePolicy
from apps.integrity.relations import dry_run, policies
from apps.integrity.relations.policies import Policy
from tests import wrappers
from tests.kinds.left import models as left

POLICIES = [
    *(models.CASCADE, models.PROTECT, models.RESTRICT),
    *(models.SET_NULL, models.SET_DEFAULT, models.DO_NOTHING),
]
NULLED: Any = left.Nulled._meta.get_field("giver")


def name_of(each: Any) -> str:
    return getattr(each, "__name__", type(each).__name__)


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a key have another `on_delete`, unadopted."""

    def declared(on_delete: Any, field: Any = NULLED) -> Any:
        monkeypatch.setattr(field.remote_field, "on_delete", on_delete)
        return field

    return declared


@pytest.mark.parametrize("policy", POLICIES, ids=name_of)
@pytest.mark.parametrize("wrap", wrappers.TRANSPARENT, ids=name_of)
def test_a_wrapper_is_what_it_wraps(declare: Any, wrap: Any, policy: Any) -> None:
    field = declare(wrap(policy))
    assert policies.policy_of(field) is Policy(policy.__name__)
    assert dry_run.unusable(field, "test_left") == ""


@pytest.mark.parametrize("wrap", wrappers.TRANSPARENT[:-1], ids=name_of)
def test_a_wrapped_value_is_a_value(declare: Any, wrap: Any) -> None:
    field = declare(wrap(models.SET(left.called)))
    assert policies.policy_of(field) is Policy.SET
    assert dry_run.unusable(field, "test_left") == ""


def test_only_what_equals_djangos_own_does_nothing_else(declare: Any) -> None:
    for plain in (*POLICIES, models.SET(1), models.SET(left.called)):
        assert policies.is_builtin(declare(plain))
    assert policies.is_builtin(declare(wrappers.PolymorphicGuard(models.CASCADE)))
    for other in (wrappers.logged(models.CASCADE), wrappers.logged(models.SET(1)), left.put_custom):
        assert not policies.is_builtin(declare(other))


def test_a_field_may_deconstruct_to_what_it_means(declare: Any) -> None:
    class Key(models.ForeignKey[Any, Any]):
        def deconstruct(self) -> Any:
            name, path, args, kwargs = super().deconstruct()
            return name, path, args, {**kwargs, "on_delete": models.PROTECT}

    field = Key("parents.Giver", wrappers.unmarked, db_constraint=False)
    assert policies.policy_of(field) is Policy.PROTECT


def test_recognising_a_policy_runs_none_of_it(declare: Any) -> None:
    wrappers.logged.calls.clear()
    field = declare(wrappers.logged(models.CASCADE))
    assert policies.policy_of(field) is Policy.CASCADE
    relations.discover()
    assert wrappers.logged.calls == []


@pytest.mark.parametrize("on_delete", wrappers.UNKNOWN, ids=name_of)
def test_what_cannot_be_carried_out_is_refused_with_the_remedy(
    declare: Any, on_delete: Any
) -> None:
    field = declare(on_delete)
    with pytest.raises(UnusablePolicy) as caught:
        dry_run.require_usable(field, "left.Nulled.giver", "test_left")
    text = str(caught.value)
    assert text.startswith("left.Nulled.giver: its on_delete, ")
    assert dry_run.callable_name(on_delete) in text
    assert "Declare one of Django's policies" in text


@pytest.mark.parametrize("on_delete", wrappers.UNKNOWN, ids=name_of)
def test_e015_says_so_and_names_the_function(declare: Any, on_delete: Any) -> None:
    relation = relations.catalogue().relation("left.Nulled.giver")
    field = declare(on_delete)
    [found] = [each for each in keys.problems(relation) if each.id == "integrity.E015"]
    assert dry_run.callable_name(on_delete) in found.msg
    assert "left.Nulled.giver" in found.msg
    assert found.obj is field


def test_e015_is_silent_for_a_function_that_sets_a_value(declare: Any) -> None:
    relation = relations.catalogue().relation("left.Nulled.giver")
    declare(left.put_custom)
    assert [each.id for each in keys.problems(relation)] == []


def test_a_trial_asks_no_database_and_leaves_the_connections_as_they_were(declare: Any) -> None:
    # No mark of pytest-django: a query would raise here, and the reason would be another one.
    before = {alias: dict(vars(connections[alias])) for alias in connections}
    assert "it asks a database" in dry_run.unusable(declare(wrappers.value_by_query), "test_left")
    assert {alias: dict(vars(connections[alias])) for alias in connections} == before


def test_a_function_that_djangos_set_would_call_may_ask_a_database(declare: Any) -> None:
    def first() -> Any:
        return left.Giver.objects.values_list("pk", flat=True).first()

    assert dry_run.unusable(declare(wrappers.logged(models.SET(first))), "test_left") == ""
