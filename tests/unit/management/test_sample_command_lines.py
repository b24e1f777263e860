"""`./run` and `manage.py` of the sample project, typed by somebody who has just cloned it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = (
    *("SECRET_KEY", "DATABASE_URL", "DATABASE_URL_BLOG_DB", "DATABASE_URL_SHOP_DB"),
    "BROKER_URL",
)


def typed(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "words", [["check"], ["migrate"], ["integrity", "status"], ["integrity"], []]
)
def test_without_variables_each_command_names_them_all_and_the_remedy(words: list[str]) -> None:
    done = typed("manage.py", *words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    first, names, *remedy = done.stderr.splitlines()
    assert first == "manage.py: not set in the environment:"
    assert names.split() == [*(f"{name}," for name in VARIABLES[:-1]), VARIABLES[-1]]
    assert "./run up && set -a && . .sandbox/env && set +a" in " ".join(remedy)
    assert all(len(line) <= 80 for line in done.stderr.splitlines())


def test_only_what_is_missing_is_named() -> None:
    done = typed("manage.py", "check", **dict.fromkeys(VARIABLES[:-1], "sqlite:///x"))
    assert done.stderr.splitlines()[1] == "BROKER_URL"


def test_without_django_the_right_python_is_named() -> None:
    done = typed("-S", "manage.py", "check")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "use .venv/bin/python manage.py" in done.stderr


def test_other_settings_need_none_of_the_variables() -> None:
    done = typed("manage.py", "check", "--settings=nowhere")
    assert "not set in the environment" not in done.stderr


def test_the_overview_of_run_fits_a_terminal() -> None:
    done = typed("run", "help")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "usage: ./run COMMAND [ARGUMENT ...]"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tset", "run: no command 'tset'; did you mean ./run test? ./run help lists all\n"),
        ("xyzzy", "run: no command 'xyzzy'\nusage: ./run COMMAND"),
    ],
)
def test_an_unknown_command_of_run_is_refused(name: str, said: str) -> None:
    done = typed("run", name)
    assert done.returncode == 2
    assert done.stderr.startswith(said)


def test_a_command_of_run_without_arguments_says_so() -> None:
    done = typed("run", "down", "now")
    assert done.returncode == 2
    assert done.stderr == "run: this command takes no arguments: now\n"
