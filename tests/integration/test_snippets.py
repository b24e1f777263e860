"""What the pages show is run: Python, commands and JSON, in the sample project, page by page.

Before each page, users 1 and 2 have posts, comments and orders; so have 42, who was deleted a
moment ago, and 7, who vanished by raw SQL.
"""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as project
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections, models
from django.urls import include, path
from django.utils.module_loading import import_string

from apps.blog.models import Comment, Post
from apps.integrity import conf, relations
from apps.integrity.checks.settings import named
from apps.integrity.relations import Catalogue, discovery
from apps.shop.models import Order
from tests import snippets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from tests.snippets import Block, Command

PAGES = [snippets.ROOT / "README.md", *sorted((snippets.ROOT / "docs").rglob("*.md"))]
LANGUAGES = ("python", "console", "sh", "json")
BLOCKS = [block for page in PAGES for block in snippets.blocks(page, *LANGUAGES)]
#: The commands of ./run.
RUN = runpy.run_path(str(snippets.ROOT / "run"))["COMMANDS"]
QUEUES = {"integrity", *(f"integrity.{alias}" for alias in ("blog_db", "shop_db"))}


@pytest.fixture
def stage(
    committed: None, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    """The sample project, without the relations of other tests; what settings and urls hold."""
    found = relations.catalogue().relations
    ours = Catalogue(tuple(each for each in found if each.label.startswith(("blog.", "shop."))))
    monkeypatch.setattr(discovery, "_known", [ours])
    monkeypatch.chdir(tmp_path)  # for files that commands write
    settings.INTEGRITY = {**settings.INTEGRITY, "grace_seconds": 0.05}
    for pk in (1, 2, 7, 42):
        user = User.objects.create(pk=pk, username=f"user {pk}")
        post = Post.objects.create(title="t", content="c", author=user)
        Comment.objects.create(post=post, author=user, content="c")
        Order.objects.create(order_number=f"{pk}", customer=user, total=1)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT setval('auth_user_id_seq', 1000)")
        cursor.execute("DELETE FROM auth_user WHERE id = 7")
    User.objects.get(pk=42).delete()
    with snippets.undone():
        yield {
            "__name__": "page",
            "models": models,
            "User": User,
            "INSTALLED_APPS": [*project.INSTALLED_APPS],
            "DATABASES": {alias: {} for alias in ("default", "blog_db", "shop_db", "notes_db")},
            "DATABASE_ROUTERS": [*project.DATABASE_ROUTERS],
            "urlpatterns": [],
            "path": path,
            "include": include,
            "env": lambda variable: f"${variable}",
        }


@pytest.mark.parametrize("page", sorted({each.page for each in BLOCKS if each.here}))
def test_what_a_page_shows_is_true(
    page: str, stage: dict[str, Any], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = ""
    for block in (each for each in BLOCKS if each.page == page and each.here):
        if block.language == "python":
            snippets.run(block, stage)
            in_force(stage, settings)
        elif block.language == "json":
            assert not (found := difference(json.loads(block.text), json.loads(printed))), (
                f"{block.place}: {found}"
            )
        else:
            for command in snippets.commands(block):
                printed = typed(command, block, capsys)


def in_force(names: dict[str, Any], settings: Settings) -> None:
    """Settings that a block made are what the product takes."""
    if given := names.pop("INTEGRITY", None):
        before, settings.INTEGRITY = settings.INTEGRITY, given
        assert conf.current()
        assert named() == []
        settings.INTEGRITY = before
    for router in names["DATABASE_ROUTERS"]:
        import_string(router.replace(snippets.SHIPPED, snippets.HERE))
    if rules := names.pop("DATABASE_ROUTING_RULES", None):
        assert rules == project.DATABASE_ROUTING_RULES


def typed(command: Command, block: Block, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command as far as it is ours; gives what it prints."""
    printed = ""
    for line in command.variants():
        typed_by_shell = line.replace("$(date +%F)", "today").partition(" > ")[0]
        words = shlex.split(typed_by_shell, comments=True)
        if words and words[0] == "python":
            words = words[1:]
        if not words:
            continue
        if words[0] == "manage.py":
            capsys.readouterr()
            code, message = managed(words[1:])
            printed = capsys.readouterr().out
            assert command.may_end(code), f"{block.place}: {line} ends with {code}\n{message}"
            absent = snippets.missing(command.output, printed)
            assert not absent, f"{block.place}: {absent!r} is not in\n{printed}"
        elif words[0] == "./run":
            assert words[1] in RUN, f"{block.place}: {line}"
        elif words[0] == "celery" and "worker" in words:
            assert words[words.index("-Q") + 1] in QUEUES, f"{block.place}: {line}"
        else:
            assert words[:4] == ["celery", "-A", "workers", "beat"], f"{block.place}: who runs it?"
    return printed


def managed(words: list[str]) -> tuple[int, str]:
    if words[0] == "check":  # of all models: not of those of other tests
        argv = [sys.executable, "manage.py", *words]
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
        done = subprocess.run(
            argv, cwd=snippets.ROOT, env=environment, capture_output=True, text=True, check=False
        )
        sys.stdout.write(done.stdout)
        return done.returncode, done.stderr
    try:
        call_command(*words)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as error:
        return int(error.code or 0), ""
    return 0, ""


def difference(shown: Any, real: Any, at: str = "$") -> str:
    """Where the two documents differ in shape, or "". Labels are free keys; null is anything."""
    if isinstance(shown, dict) and isinstance(real, dict):
        if any("." in key for key in (*shown, *real)) or {} in (shown, real):
            return ""
        if shown.keys() != real.keys():
            return f"{at}: {sorted(shown.keys() ^ real.keys())}"
        found = (difference(shown[key], real[key], f"{at}.{key}") for key in shown)
        return next(filter(None, found), "")
    if isinstance(shown, list) and isinstance(real, list):
        pairs = zip(shown[:1], real[:1], strict=False)
        return next(filter(None, (difference(*pair, f"{at}[]") for pair in pairs)), "")
    if None in (shown, real) or type(shown) is type(real):
        return ""
    return f"{at}: {type(shown).__name__} is shown, {type(real).__name__} is printed"


class TestMarks:
    def test_who_runs_a_block_elsewhere_names_its_page(self) -> None:
        for block in BLOCKS:
            if block.run_by:
                assert Path(block.page).name in (snippets.ROOT / block.run_by).read_text(), (
                    block.place
                )

    def test_nobody_runs_these(self) -> None:
        assert [(block.page, block.not_run) for block in BLOCKS if block.not_run] == [
            (
                "docs/how-to/flower.md",
                "tests/acceptance/test_flower.py starts it with these options, on a free port",
            ),
            ("docs/how-to/flower.md", "tests/acceptance/test_flower.py asks the same addresses"),
            (
                "docs/how-to/least-privilege.md",
                "dbshell needs psql; test_least_privilege.py applies the statements",
            ),
            (
                "docs/how-to/secure-the-broker.md",
                "needs keys, certificates and the package cryptography",
            ),
            (
                "docs/how-to/secure-the-broker.md",
                "as above",
            ),
            ("docs/runbook.md", "what the extra brings is in the lock"),
            ("docs/tutorial.md", "tests/acceptance/test_wheel.py installs the wheel"),
        ]

    def test_no_command_hides_in_a_block_without_a_language(self) -> None:
        starts = ("$ ", "./run", "python ", "manage.py ", "pip ", "celery ", "docker ")
        for block in (each for page in PAGES for each in snippets.blocks(page, "")):
            lines = block.text.splitlines()
            assert block.run_by or not any(line.startswith(starts) for line in lines), block.place
