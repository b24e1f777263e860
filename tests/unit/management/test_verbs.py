"""The folder of verbs is the list of verbs."""

from __future__ import annotations

import pkgutil
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from django.core.management.base import CommandError

from apps.integrity.management import cleanup, verbs
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
        (["statsu"], "unknown verb 'statsu'; did you mean 'status'? known: status, doctor, "),
        (["xyz"], "unknown verb 'xyz'; known: status, doctor, "),
        (["relations", "--format", "mermeid"], "'mermeid'; did you mean 'mermaid'? known: table"),
        (
            ["pause", "--datbase", "blog_db"],
            "unknown option '--datbase'; did you mean '--database'?",
        ),
        (["pause", "--datbase=blog_db"], "unknown option '--datbase'; did you mean '--database'?"),
        (["retry", "1", "--everything"], "unknown option '--everything'; known: --help, --json, "),
        (["--wide", "status"], "--wide is an option of a verb: write it after the verb"),
        (["--jsn", "status"], "unknown option '--jsn'; known: --help, --version, "),
    ],
)
def test_an_unknown_verb_or_option_is_refused(arguments: list[str], said: str) -> None:
    parser = integrity.Command().create_parser("manage.py", "integrity")
    with pytest.raises(CommandError, match=re.escape(said)) as refused:
        parser.parse_args(arguments)
    assert refused.value.returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--wid"],
        ["pause", "--data", "blog_db"],
        ["pause", "--database=--odd"],
        ["pause", "--database", "blog_db", "--reason", "-- see the ticket"],
        ["retry", "--", "1"],
        ["status", "--settings=x", "-v", "2"],
        ["-v", "2", "status"],
    ],
)
def test_what_argparse_takes_is_not_refused(arguments: list[str]) -> None:
    parser = integrity.Command().create_parser("manage.py", "integrity")
    assert parser.parse_args(arguments).verb


def test_each_verb_stands_in_one_group_of_the_overview() -> None:
    lines = re.findall(r"^  (\S+) ", integrity.overview(), re.MULTILINE)
    assert lines == [*verbs.VERBS]
    assert len({*lines}) == len(lines)


@pytest.mark.parametrize("name", [*verbs.VERBS, "cleanup_orphaned"])
def test_the_examples_of_a_help_can_be_typed(name: str) -> None:
    is_verb = name in verbs.VERBS
    command = integrity.Command() if is_verb else cleanup_orphaned.Command()
    examples = verbs.VERBS[name].EXAMPLES if is_verb else cleanup.EXAMPLES
    parser = command.create_parser("manage.py", "integrity")
    assert examples
    for words in examples:
        typed, _, _file = words.partition("> ")
        parser.parse_args([name] * is_verb + shlex.split(typed))


@pytest.mark.parametrize("words", [[name] for name in verbs.VERBS] + [[]])
def test_each_help_fits_a_terminal_and_ends_with_examples(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = integrity.Command().create_parser("manage.py", "integrity")
    with pytest.raises(SystemExit):
        parser.parse_args([*words, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert ("examples:" in lines) == bool(words)


@pytest.mark.parametrize("name", verbs.VERBS)
def test_each_verb_says_how_to_go_on_after_ctrl_c(name: str) -> None:
    said = verbs.VERBS[name].INTERRUPTED
    assert "again" in said
