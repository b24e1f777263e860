"""E012: `check --database` of a database that does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command

from apps.integrity.checks import databases

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("committed")


def test_e012_it_is_told_and_the_others_are_looked_at(refuse: Callable[[str], Any]) -> None:
    with refuse("blog_db"):
        away, ghost = databases.asked(["blog_db", "test_right"])
    assert (away.id, away.obj, ghost.id) == ("integrity.E012", "blog_db", "integrity.W004")
    assert "'blog_db' cannot be reached" in away.msg


def test_e012_nobody_asks_for_one_that_is_not_named(refuse: Callable[[str], Any]) -> None:
    with refuse("blog_db"):
        assert databases.asked(["shop_db"]) == []


def test_check_ends_with_it_and_without_a_traceback(refuse: Callable[[str], Any]) -> None:
    with refuse("blog_db"), pytest.raises(CommandError, match=r"integrity\.E012"):
        call_command("check", databases=["blog_db"])
