"""The folder of verbs is the list of verbs."""

from __future__ import annotations

import pkgutil

import pytest

from apps.integrity.management import verbs


def test_every_module_of_the_folder_is_a_verb_and_nothing_else() -> None:
    modules = {module.name.replace("_", "-") for module in pkgutil.iter_modules(verbs.__path__)}
    assert {*verbs.VERBS} == modules


@pytest.mark.parametrize("name", verbs.VERBS)
def test_the_help_of_a_verb_is_a_sentence(name: str) -> None:
    text = verbs.VERBS[name].HELP
    assert text[0].isupper()
    assert text.endswith(".")
