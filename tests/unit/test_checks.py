"""What `manage.py check` says of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.integrity import checks

if TYPE_CHECKING:
    from tests.conftest import Tune


@pytest.mark.parametrize(
    ("setting", "value", "name", "known"),
    [
        ("scan_policy", "repair", "blog.Post.writer", "blog.Post.author"),
        ("capture", "both", "auth.Usr", "auth.User"),
    ],
)
def test_a_name_that_the_project_does_not_have_is_an_error_that_lists_the_known(
    tune: Tune, setting: str, value: str, name: str, known: str
) -> None:
    tune(**{setting: {known: value}})
    assert checks.named() == []
    tune(**{setting: {known: value, name: value}})
    (found,) = checks.named()
    assert (found.id, found.obj) == ("integrity.E002", name)
    assert repr(name) in found.msg
    assert known in str(found.hint)


def test_one_value_for_all_names_nothing(tune: Tune) -> None:
    tune(scan_policy="repair", capture="both")
    assert checks.named() == []
