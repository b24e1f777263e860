"""What somebody sees who has just begun: SQLite, no `LOGGING`, and not everything migrated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess

    from tests.newcomer import Project

CLEAN, ERROR, USAGE, FINDINGS, INCOMPLETE, UNREACHABLE, BRAKE = range(7)
POST, COMMENT = "blog.Post.author", "blog.Comment.author"
REMEDY = "there is no table 'blog_comment' in 'blog_db'. Run `manage.py migrate --database blog_db`"
USER = "from django.contrib.auth.models import User; User"
DROP = "from django.db import connections as c; c['blog_db'].cursor().execute('DROP TABLE {}')"


def lines_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


class TestOneVoice:
    def test_a_database_that_is_away_is_told_once(self, project: Project) -> None:
        done = project.manage("integrity", "drain", away="blog_db")
        assert done.returncode == UNREACHABLE
        assert lines_of(done) == [
            "blog_db cannot be reached: its file cannot be opened (SQLITE_CANTOPEN)"
        ]

    def test_a_log_that_is_away_is_told_once(self, project: Project) -> None:
        done = project.manage("integrity", "status", away="default")
        assert done.returncode == UNREACHABLE
        [line] = lines_of(done)
        assert line.startswith("CommandError: unreachable: default: ")

    def test_the_brake_is_told_once(self, project: Project) -> None:
        project.run(f"{USER}.objects.all()._raw_delete('default')")
        assert project.manage("integrity", "scan").returncode == FINDINGS
        done = project.manage("integrity", "repair", "--apply")
        assert done.returncode == BRAKE
        told, remedy, _ = lines_of(done)
        assert told == f"{POST}: repair refused by the brake: the parent's table is empty"
        assert "--override-brake" in remedy

    def test_what_only_the_log_tells_is_not_lost(self, project: Project) -> None:
        project.run(DROP.format("integrity_identity"))
        first, *_ = lines_of(project.manage("integrity", "drain"))
        assert first.startswith("blog_db cannot store the identity of its parents' database: run ")


class TestATableThatIsNotThere:
    def test_scan_says_so_in_a_line_and_scans_the_others(self, project: Project) -> None:
        project.run(DROP.format("blog_comment"))
        done = project.manage("integrity", "scan")
        assert done.returncode == INCOMPLETE
        [failed] = lines_of(done)
        assert failed == f"scan of {COMMENT} in blog_db failed: {REMEDY}"
        [post] = [line for line in done.stdout.splitlines() if line.startswith(POST)]
        assert "True" in post

    def test_repair_says_so_and_it_is_no_outage(self, project: Project) -> None:
        """The table is below that of the relation whose suspect is to be repaired."""
        assert project.manage("integrity", "scan").returncode == FINDINGS
        project.run(DROP.format("blog_comment"))
        done = project.manage("integrity", "repair")
        assert done.returncode == INCOMPLETE
        assert lines_of(done) == [f"{POST}: its rows cannot be counted: {REMEDY}"]


class TestAReaderThatHasEnough:
    """As `| head -1` has."""

    @pytest.mark.parametrize(
        "command",
        [
            "integrity --help",
            "integrity relations",
            "integrity relations --json",
            "integrity status",
            "integrity repair",
            "integrity purge",
            "integrity doctor",
            "cleanup_orphaned --help",
        ],
    )
    def test_ends_the_command_without_a_word(self, project: Project, command: str) -> None:
        assert project.manage_unread(*command.split(), errors_too=False) == (141, "")

    @pytest.mark.parametrize("errors_too", [False, True])
    def test_does_not_end_the_work(self, project: Project, *, errors_too: bool) -> None:
        project.run("from apps.integrity.models import Audit; assert not Audit.objects.exists()")
        command = ["cleanup_orphaned", "--apply"]
        code, errors = project.manage_unread(*command, errors_too=errors_too)
        assert code == 141
        assert "BrokenPipe" not in errors
        done = project.manage("integrity", "status", "--json")
        databases = json.loads(done.stdout)["databases"]
        assert [row["backlog"] for row in databases] == [0]
        project.run("from apps.blog.models import Post; assert not Post.objects.exists()")


def test_a_scan_without_statistics_expects_no_number_of_rows(project: Project) -> None:
    """Then the last pass is what it expects."""
    expected = []
    for _ in range(2):
        done = project.manage("integrity", "scan", "--relation", POST, "--json")
        [row] = json.loads(done.stdout)["relations"]
        assert row["complete"]
        expected.append(row["expected_rows"])
    assert expected == [None, 2]


@pytest.mark.parametrize("alias", ["default", "blog_db"])
def test_check_says_which_database_is_away(project: Project, alias: str) -> None:
    done = project.manage("check", "--database", "default", "--database", "blog_db", away=alias)
    assert done.returncode == ERROR
    assert f"(integrity.E012) {alias!r} cannot be reached" in "".join(lines_of(done))
