"""What each verb prints on a terminal of 80 columns, with long reasons and with wrong input."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from apps.integrity.management.verbs import VERBS
from tests.newcomer import MIGRATE, SETTINGS, Project

if TYPE_CHECKING:
    from collections.abc import Sequence

CLEAN, ERROR, USAGE, FINDINGS, INCOMPLETE, UNREACHABLE, BRAKE = range(7)
REASON = "the table has a trigger that refuses the change: " + "ask the owner of the table; " * 6
#: Blocked and kept deletions, a pause and suspects: something to say for every verb.
FILL = f"""
from django.contrib.auth.models import User
from apps.blog.models import Post
from apps.integrity.control import actions
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from apps.integrity.scan import scan

users = [User.objects.create(username=f"user{{n}}") for n in range(12)]
Post.objects.bulk_create(Post(title="t", content="c", author=user) for user in users)
for user in users[:4]:
    user.delete()
    dispatch.sweep_all()
Cascade.objects.filter(batch=1).update(state="blocked", due_at=None, reason={REASON!r}, attempts=8)
Cascade.objects.filter(batch=2).update(
    state="kept", due_at=None, kept={{"2": {{"blog.Post.author": 1}}}}, reason={REASON!r},
    kept_at="2026-01-01T00:00Z", done_at="2026-01-01T00:00Z", ended_at="2026-01-01T00:00Z",
)
actions.pause("blog_db", actor="test", reason={REASON!r}, using="default")
User.objects.filter(pk__in=[user.pk for user in users[4:6]])._raw_delete("default")
"""
#: What is not for people, or SQL to copy.
NOT_BROKEN = ("--json", "--format", "grants ", "--dry-run", "alerts", "receipts ")

COMMANDS = (
    "",
    "status",
    "doctor",
    "relations",
    "relations --format mermaid",
    "preview auth.User 7",
    "preview auth.User 99999",
    "drain",
    "drain --verify --timeout 0",
    "scan",
    "repair",
    "repair --apply",
    "replay --database blog_db",
    "replay --parents",
    "pause --database blog_db",
    "resume --database blog_db",
    "retry 1",
    "retry 1 3",
    "retry --all",
    "acknowledge 2",
    "receipt auth.User 1",
    "receipt auth.User 2",
    "receipts",
    "receipts --since 2027-01-01 --output /nowhere/at/all",
    "receipts --until 2000-01-01",
    "purge",
    "purge --days 0",
    "install-triggers",
    "install-triggers --dry-run",
    "grants worker",
    "rename old_db blog_db",
    "alerts",
    # Wrong input.
    "statsu",
    "pause --datbase blog_db",
    "pause --database blogdb",
    "preview auth.Usr 1",
    "preview auth.User xyz",
    "receipt auth.User 99999",
    "scan --relation blog.Post.autor",
    "repair --apply --override-brake",
    "receipts --since yesterday",
    "receipts --since 2026-02-01 --until 2026-01-01",
    "receipts --output /nowhere/at/all",
    "retry 999",
    "retry",
    "rename a b",
    "rename blog.Post.autor blog.Post.authr",
    "drain --timeout soon",
    "alerts --output /nowhere/at/all",
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("terminal"))
    (project.folder / "newcomer_settings.py").write_text(SETTINGS)
    project.run(MIGRATE + FILL)
    return project.folder


@pytest.fixture
def project(filled: Path, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(filled, tmp_path / "project")))


def too_long(shown: str) -> Sequence[str]:
    """Lines beyond 80 columns that could have been broken."""
    return [line for line in shown.splitlines() if len(line) > 80 and " " in line.strip()]


def test_every_verb_is_measured() -> None:
    assert {command.split()[0] for command in COMMANDS if command} >= {*VERBS}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_wider_than_the_terminal(project: Project, command: str) -> None:
    _, shown = project.on_terminal("integrity", *command.split())
    assert shown.strip()
    assert "Traceback" not in shown
    if not any(word in f"{command} " for word in NOT_BROKEN):
        assert too_long(shown) == []


@pytest.mark.parametrize("away", ["default", "blog_db"])
@pytest.mark.parametrize("command", ["status", "doctor", "drain", "scan", "repair", "retry 1"])
def test_nor_where_a_database_is_away(project: Project, command: str, away: str) -> None:
    code, shown = project.on_terminal("integrity", *command.split(), away=away)
    assert "Traceback" not in shown
    assert too_long(shown) == []
    if away == "default":
        assert code in {UNREACHABLE, BRAKE}


def test_wide_breaks_nothing_and_a_log_has_one_line_for_an_event(project: Project) -> None:
    _, narrow = project.on_terminal("integrity", "status")
    _, wide = project.on_terminal("integrity", "status", "--wide")
    assert REASON.strip() in wide
    assert REASON.strip() not in narrow
    _, told = project.on_terminal("integrity", "retry", "999", "--wide")
    assert len(told.strip().splitlines()) == 1
    assert len(project.manage("integrity", "retry", "999").stderr.strip().splitlines()) == 1


def test_progress_is_not_in_the_colour_of_errors(project: Project) -> None:
    [line] = [
        line
        for line in project.raw_terminal("integrity", "preview", "auth.User", "99999").splitlines()
        if "there is no auth.User 99999" in line
    ]
    assert "\x1b[" not in line


def test_the_overview_names_each_verb_with_its_purpose_and_is_a_usage_error(
    project: Project,
) -> None:
    done = project.manage("integrity")
    assert (done.returncode, done.stdout) == (USAGE, "")
    named = re.findall(r"^  (\S+) ", done.stderr, re.MULTILINE)
    assert named == [*VERBS]
    assert done.stderr.splitlines()[2] == "Look:"
    assert "--help" in done.stderr


def test_json_of_the_same_is_one_line(project: Project) -> None:
    done = project.manage("integrity", "status", "--json")
    assert json.loads(done.stdout)["schema_version"] == 1


class TestCtrlC:
    def test_it_ends_the_worker_with_its_code_and_a_sentence(self, project: Project) -> None:
        process = project.start("integrity", "drain", "--forever")
        assert process.stderr is not None
        assert "at work on blog_db" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in told
        *_, last = told.strip().splitlines()
        assert last == f"interrupted: {VERBS['drain'].INTERRUPTED}"

    def test_sigterm_is_the_normal_end_of_the_worker(self, project: Project) -> None:
        process = project.start("integrity", "drain", "--forever")
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert (process.returncode, told.strip()) == (CLEAN, "stopped")
