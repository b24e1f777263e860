"""The folder of verbs is the list of verbs."""

from __future__ import annotations

import pkgutil
import re
from typing import TYPE_CHECKING

import pytest
from django.core.management.base import CommandError

from apps.integrity.management import verbs
from apps.integrity.management.commands import cleanup_orphaned, integrity
from apps.integrity.management.options import DJANGO_OPTIONS
from apps.integrity.management.parser import PlainParser

if TYPE_CHECKING:
    import argparse


def test_every_module_of_the_folder_is_a_verb_and_nothing_else() -> None:
    modules = {module.name.replace("_", "-") for module in pkgutil.iter_modules(verbs.__path__)}
    assert {*verbs.VERBS} == modules


@pytest.mark.parametrize("name", verbs.VERBS)
def test_the_help_of_a_verb_is_a_sentence(name: str) -> None:
    text = verbs.VERBS[name].HELP
    assert text[0].isupper()
    assert text.endswith(".")


def options_of(name: str) -> dict[str, str | None]:
    """The help of each option and argument of a verb, or of the other command."""
    parser: argparse.ArgumentParser = PlainParser()
    if name in verbs.VERBS:
        integrity.Command().add_arguments(parser)  # type: ignore[arg-type]  # a plain parser
        [chosen] = [action for action in parser._actions if action.dest == "verb"]
        parser = chosen.choices[name]  # type: ignore[index,assignment,call-overload]  # argparse types none
    else:
        cleanup_orphaned.Command().add_arguments(parser)  # type: ignore[arg-type]  # a plain parser
    django = {flag for flags in DJANGO_OPTIONS for flag in flags.split()}
    return {
        "/".join(action.option_strings) or action.dest: action.help
        for action in parser._actions
        if not django.intersection(action.option_strings)
    }


@pytest.mark.parametrize("name", [*verbs.VERBS, "cleanup_orphaned"])
def test_each_option_has_a_help_text(name: str) -> None:
    options = options_of(name)
    assert "--json" in options
    assert [flags for flags, text in options.items() if not text] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "unknown verb 'statsu'; did you mean 'status'? known: relations, preview, "),
        (["xyz"], "unknown verb 'xyz'; known: relations, preview, "),
        (["relations", "--format", "mermeid"], "'mermeid'; did you mean 'mermaid'? known: table"),
    ],
)
def test_an_unknown_verb_is_refused_with_the_likely_one(arguments: list[str], said: str) -> None:
    parser = integrity.Command().create_parser("manage.py", "integrity")
    with pytest.raises(CommandError, match=re.escape(said)) as refused:
        parser.parse_args(arguments)
    assert refused.value.returncode == 2
