"""Arguments that scripts hand on from others: each ends in a line and exit code 2, or is a name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import CommandParser

from apps.integrity.management.commands.cleanup_orphaned import Command as CleanUp
from apps.integrity.management.commands.integrity import Command
from apps.integrity.management.verbs import VERBS
from tests.acceptance import workers

NO_UTF8 = "$'\udcff'"
ODD: dict[str, str] = {
    "no UTF-8": NO_UTF8,
    "a lone surrogate": "\ud800",
    "a NUL": "a\0b",
    "1 MB": "x" * 1_000_000,
}
EACH = pytest.mark.parametrize("odd", ODD.values(), ids=ODD)


def said(words: list[str], capsys: pytest.CaptureFixture[str], kind: Any = Command) -> str:
    """What a parser tells that ends with a usage error."""
    command = kind(no_color=True)
    command._called_from_command_line = True
    parser = command.create_parser("manage.py", "integrity")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == 2
    return capsys.readouterr().err


@EACH
@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_takes_what_is_no_text(
    verb: str, odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = CommandParser()
    VERBS[verb].add_arguments(parser)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    for words in ([odd], *([flag, odd] for flag in flags), [f"--settings={odd}"]):
        told = said([verb, *words], capsys)
        assert len(told) < 3_000
        assert {each for each in told if not each.isprintable()} <= {"\n"}


@EACH
def test_nor_does_the_seed_s_command(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([odd], ["--app", odd], ["--override-brake", odd]):
        assert len(said(words, capsys, CleanUp)) < 2_000


@pytest.mark.parametrize("words", [["\x1b[31m"], ["status", "\x1b[31m"], ["retry", "\x1b[31m"]])
def test_a_usage_error_steers_no_terminal(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(words, capsys)
    assert r"\x1b[31m" in told
    assert "\x1b" not in told


TOLD = "is not UTF-8 text without NUL"
BYTES = {"no UTF-8": b"\xff", "half a pair": b"\xed\xb3\xbf", "some of it": b"ann\xe9"}


@pytest.mark.parametrize("odd", BYTES.values(), ids=BYTES)
def test_a_shell_s_bytes_end_in_a_line(committed: None, odd: bytes) -> None:
    environment = workers.environment()
    for words in (
        ["receipt", "auth.User", odd],
        ["preview", odd, "1"],
        ["pause", "--database", "blog_db", "--reason", odd],
    ):
        done = subprocess.run(
            [sys.executable, workers.ROOT / "manage.py", "integrity", *words],
            env=environment,
            cwd=workers.ROOT,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2, done.stderr
        assert TOLD.encode() in done.stderr
        assert b"Traceback" not in done.stderr + done.stdout


@EACH
@pytest.mark.parametrize("verb", ["receipt", "preview"])
def test_a_text_key_is_asked_for_as_text_alone(committed: None, verb: str, odd: str) -> None:
    """What a server would refuse to be asked for is refused before."""
    with pytest.raises(CommandError, match=r"UTF-8|characters"):
        call_command("integrity", verb, "parents.Word", odd)


def test_a_text_key_with_codes_is_a_key(committed: None) -> None:
    """An attacker may have chosen it; its receipt can be asked for."""
    with pytest.raises(CommandError) as told:
        call_command("integrity", "receipt", "parents.Word", "a\x1b[31m")
    assert "no deletion of" in str(told.value)
