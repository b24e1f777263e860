"""What changed nothing says so, leaves no row in the audit, and names what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from apps.blog.models import Post
from apps.integrity.models import Audit, Cascade
from apps.integrity.queues import dispatch
from apps.integrity.relations import discovery
from apps.integrity.report import names
from tests import log_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    Said = Callable[..., tuple[int, str]]

pytestmark = pytest.mark.usefixtures("committed")

CLEAN, ERROR, USAGE = range(3)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """The exit code of a command, and all that it says."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code, message = CLEAN, ""
        try:
            call_command("integrity", *arguments)
        except CommandError as error:
            code, message = error.returncode, str(error)
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capsys.readouterr()
        return code, out + err + message

    return run


@pytest.mark.parametrize(
    "command",
    [
        "drain",
        "repair",
        "repair --apply",
        "retry --all",
        "acknowledge --all",
        "resume --database blog_db",
        "resume --database blog_db --accept-restore",
        "resume --database blog_db --accept-identity",
        "rename old_db blog_db",
        "rename old_db blog_db --apply",
        "rename old_db --close gone --apply",
        "purge",
    ],
)
def test_a_verb_that_has_nothing_to_do_says_so_and_is_not_audited(said: Said, command: str) -> None:
    code, text = said(*command.split())
    assert code == CLEAN
    assert text.startswith("nothing to do")
    assert not Audit.objects.exists()


def test_the_second_pause_changes_nothing(said: Said) -> None:
    assert said("pause", "--database", "blog_db")[1] == "blog_db: paused\n"
    Audit.objects.all().delete()
    code, text = said("pause", "--database", "blog_db", "--reason", "again")
    assert (code, text) == (CLEAN, "nothing to do: blog_db is paused already\n")
    assert not Audit.objects.exists()


@pytest.mark.postgresql
def test_a_second_installation_of_triggers_changes_nothing(said: Said) -> None:
    said("install-triggers", "--database", "default")
    _, text = said("install-triggers", "--database", "default")
    assert text.startswith("default: nothing to do: ")


def test_rename_names_the_unknown_name_that_was_meant(said: Said) -> None:
    log_rows.make("auth.User", [1], ["old_blog_db"])
    assert [row["name"] for row in names.unknown(["default"])] == ["old_blog_db"]
    _, text = said("rename", "old_blogdb", "blog_db")
    assert " ".join(text.split()) == (
        "nothing to do: no open work has the name 'old_blogdb'; did you mean 'old_blog_db'?"
    )
    code, text = said("rename", "old_blog_db", "blogdb")
    assert code == USAGE
    assert text.startswith("unknown alias 'blogdb'; did you mean 'blog_db'? known: ")


class TestDeletionsByTheirIds:
    @pytest.fixture
    def ids(self) -> list[int]:
        """One blocked in a database, one pending, one cascaded."""
        users = [User.objects.create(username=name) for name in ("ann", "bob", "eve")]
        Post.objects.bulk_create(Post(title="t", content="c", author=user) for user in users)
        keys = [user.pk for user in users]
        for user in users:
            user.delete()
            dispatch.sweep_all()
        rows = [log_rows.deletion_of(key) for key in keys]
        first, _, last = (row.batch for row in rows)
        Cascade.objects.filter(batch=first, database="blog_db").update(
            state="blocked", due_at=None, attempts=8
        )
        Cascade.objects.filter(batch=last).update(state="done")
        return [row.pk for row in rows]

    def test_what_is_retried_and_in_what_state_the_others_are(
        self, said: Said, ids: list[int]
    ) -> None:
        blocked, pending, done = ids
        code, text = said("retry", *map(str, ids))
        assert code == CLEAN
        first, *others = text.replace("\n  ", " ").splitlines()
        assert first == "1 deletion will be tried again, counted in each child database"
        why = "is not blocked and has kept no rows: it is"
        assert others == [
            f"nothing to do: deletion {pending} {why} pending in blog_db, pending in shop_db",
            f"nothing to do: deletion {done} {why} done in blog_db, done in shop_db",
        ]
        [audit] = Audit.objects.all()
        assert (audit.verb, audit.target) == ("retry", str(blocked))

    def test_acknowledge_likewise(self, said: Said, ids: list[int]) -> None:
        code, text = said("acknowledge", str(ids[1]))
        assert code == CLEAN
        assert text.startswith(f"nothing to do: deletion {ids[1]} has kept no rows that")
        assert not Audit.objects.exists()

    @pytest.mark.parametrize("verb", ["retry", "acknowledge"])
    def test_an_id_in_another_log_or_in_two_is_an_error_that_names_the_logs(
        self, said: Said, ids: list[int], verb: str
    ) -> None:
        other = next(using for using in discovery.log_databases() if using != "default")
        code, text = said(verb, "--log", other, str(ids[0]))
        assert code == ERROR
        assert text.startswith(
            f"there is no deletion {ids[0]} in the log of {other!r}; it is in that of 'default': "
        )
        [twin] = log_rows.make("parents.Root", [1], [], using=other)
        type(twin).objects.using(other).filter(pk=twin.pk).update(id=ids[0])
        code, text = said(verb, str(ids[0]))
        assert code == USAGE
        for using in ("default", other):
            assert f"--log {using}" in text
        assert not Audit.objects.exists()
        assert Cascade.objects.filter(state="blocked").exists()
        assert said(verb, str(ids[0]), "--log", "default")[0] == CLEAN

    def test_an_unknown_log_is_refused(self, said: Said) -> None:
        code, text = said("retry", "1", "--log", "defalt")
        assert code == USAGE
        assert "'defalt'; did you mean 'default'?" in text
