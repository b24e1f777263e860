"""Ctrl-C ends each verb with exit code 130, and with a sentence about what is safe."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import BaseCommand

from apps.integrity.management import cleanup, verb, verbs
from apps.integrity.management.commands import cleanup_orphaned
from apps.integrity.management.commands.integrity import Command

ARGUMENTS = {
    "preview": ["auth.User", "1"],
    "receipt": ["auth.User", "1"],
    "retry": ["--all"],
    "acknowledge": ["--all"],
    "pause": ["--database", "blog_db"],
    "resume": ["--database", "blog_db"],
    "rename": ["a", "b"],
    "grants": ["worker"],
}


def pressed(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", verbs.VERBS)
def test_it_ends_each_verb(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verbs.VERBS[name], "run", pressed)
    argv = ["manage.py", "integrity", name, *ARGUMENTS.get(name, []), "--skip-checks"]
    with pytest.raises(SystemExit) as ended:
        Command(stderr=sys.stderr, stdout=sys.stdout).run_from_argv(argv)
    assert ended.value.code == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"\ninterrupted: {verbs.VERBS[name].INTERRUPTED}\n")


def test_it_ends_the_printing_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cleanup, "run", lambda *_, **__: verb.Result({}))
    monkeypatch.setattr(cleanup, "render", pressed)
    command = cleanup_orphaned.Command(stderr=sys.stderr, stdout=sys.stdout)
    with pytest.raises(SystemExit) as ended:
        command.run_from_argv(["manage.py", "cleanup_orphaned", "--skip-checks"])
    assert ended.value.code == 130
    assert "interrupted: " in capsys.readouterr().err


def test_it_passes_through_call_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "run", pressed)
    with pytest.raises(KeyboardInterrupt):
        call_command("cleanup_orphaned")


def test_it_ends_what_django_does_before_the_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(BaseCommand, "run_from_argv", pressed)
    with pytest.raises(SystemExit) as ended:
        Command(stderr=sys.stderr).run_from_argv(["manage.py", "integrity", "status"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"\ninterrupted: {verb.UNCHANGED}\n"
