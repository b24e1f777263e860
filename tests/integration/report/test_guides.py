"""The guides for the person on call: one for each kind, with commands that exist and run."""

from __future__ import annotations

import dataclasses
import re
import shlex
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from celery.bin.celery import celery
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import Error, connections
from django.test import Client
from django.urls import reverse

from apps.blog.models import Post
from apps.integrity import conf
from apps.integrity.log import claims
from apps.integrity.models import Cascade, Deletion
from apps.integrity.report.fault import KINDS
from apps.integrity.report.guides import CODE, GUIDES, OTHER, Guide
from tests import log_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("committed")

PRODUCT = Path(claims.__file__).parents[1]
#: Placeholder → what stands for it in the sample project.
VALUES = {
    "DATABASE": "blog_db",
    "RELATION": "blog.Post.author",
    "MODEL": "auth.User",
    "PROJECT": "workers",
    "PID": "0",
    "GID": "no such one",
    "ROLE": "nobody_here",
    "OLD": "old_db",
    "NEW": "blog_db",
}
#: Runs until somebody stops it.
ENDLESS = {"--forever", "--watch"}
#: Clean, with findings, not complete, unreachable (no broker and no worker in a test).
EXPECTED = {0, 3, 4, 5}
UNDEFINED_OBJECT = "42704"


def typed(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\b[A-Z]{2,}\b", lambda found: values.get(found[0], found[0]), text)


@pytest.fixture
def values() -> dict[str, str]:
    user = User.objects.create(pk=42, username="gone")
    Post.objects.create(title="t", content="c", author=user)
    key = str(user.pk)
    user.delete()
    log_rows.make("auth.User", [1], ["old_db"], state="pending")
    return VALUES | {"KEY": key, "ID": str(Deletion.objects.get(key=key).pk)}


def test_each_kind_of_fault_has_one_guide() -> None:
    assert tuple(GUIDES) == KINDS
    assert all(kind == guide.kind for kind, guide in GUIDES.items())


@pytest.mark.parametrize("kind", GUIDES)
def test_a_guide_says_what_it_has_to(kind: str) -> None:
    guide = GUIDES[kind]
    assert all((guide.title, guide.means, guide.look, guide.steps, guide.over, guide.safe))
    assert 1 <= len(re.findall(r"\.(?: |$)", guide.means)) <= 2, "two sentences"
    assert guide.subject in {"", *VALUES}
    assert all(look.command.startswith("manage.py ") for look in guide.look)


#: What PostgreSQL does not know.
OF_MYSQL = {"GRANT PROCESS ON *.* TO ROLE"}


@pytest.mark.postgresql
def test_the_commands_of_the_guides_run(values: dict[str, str]) -> None:
    for command in sorted({each for guide in GUIDES.values() for each in guide.commands()}):
        line = typed(command, values)
        if command.startswith("manage.py "):
            assert run(shlex.split(line)[1:]) in EXPECTED, line
        elif command in OF_MYSQL:
            continue  # tests/engines/mariadb/test_mariadb_grants.py
        elif command.startswith("celery "):
            parse_celery(shlex.split(line)[1:])
        else:
            with connections["default"].cursor() as cursor:
                assert sqlstate_of(cursor, line) in {"", UNDEFINED_OBJECT}, line


def run(words: list[str]) -> int:
    if words == ["check"]:  # the models of other tests are not what it is about
        return 0
    if ENDLESS & {*words}:
        from apps.integrity.management.commands.integrity import Command

        Command().create_parser("manage.py", "integrity").parse_args(words[1:])
        return 0
    try:
        call_command(*words)
    except CommandError as error:
        return int(error.returncode)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def parse_celery(words: list[str]) -> None:
    assert words[:2] == ["-A", "workers"]
    command = celery.commands[words[2]]
    command.make_parser(command.context_class(command)).parse_args(words[3:])


def sqlstate_of(cursor: Any, statement: str) -> str:
    try:
        cursor.execute(statement)
    except Error as error:
        return str(getattr(error.__cause__, "sqlstate", error))
    return ""


def test_what_a_command_looks_at_it_does_not_change(values: dict[str, str]) -> None:
    before = list(Cascade.objects.order_by("pk").values())
    for guide in GUIDES.values():
        for look in guide.look:
            run(shlex.split(typed(look.command, values))[1:])
    assert list(Cascade.objects.order_by("pk").values()) == before
    assert Post.objects.count() == 1


def quoted() -> Iterator[tuple[str, str]]:
    """Everything in backticks that is no command: output, settings, kinds."""
    for guide in GUIDES.values():
        commands = {*guide.commands()}
        for field in dataclasses.astuple(guide):
            for text in field if isinstance(field, tuple) else (field,):
                yield from (
                    (guide.kind, code)
                    for part in (text if isinstance(text, tuple) else (text,))
                    for code in CODE.findall(part)
                    if code not in commands
                )


SOURCE = re.sub(
    r"\"\s*f?\"",
    "",
    "\n".join(path.read_text() for path in PRODUCT.rglob("*.py") if "guides" not in path.parts),
)
SOURCE = SOURCE.replace("{what}", "transaction")  # of barriers.describe_blocker
#: Names of other programs.
FOREIGN = {"broker_url", "idle_in_transaction_session_timeout"}


def test_what_a_guide_quotes_is_what_the_product_prints() -> None:
    settings = {field.name for field in dataclasses.fields(conf.Settings)}
    for kind, code in {*quoted()}:
        if code in settings | {*KINDS} | FOREIGN:
            continue
        parts = [part.strip() for part in re.split(r"…|: |\b[A-Z]{2,}\b", code)]
        assert [part for part in parts if part not in SOURCE] == [], kind


class TestThePage:
    @pytest.fixture
    def viewer(self) -> Client:
        user = User.objects.create(username="viewer", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_dashboard"))
        client = Client()
        client.force_login(user)
        return client

    def page(self, client: Client, kind: str, subject: str = "") -> Any:
        address = reverse("admin:integrity_dashboard_guide", args=[kind])
        return client.get(address, {"subject": subject} if subject else {})

    def test_it_shows_the_whole_guide(self, viewer: Client) -> None:
        for kind, guide in GUIDES.items():
            response = self.page(viewer, kind)
            assert response.status_code == HTTPStatus.OK
            shown = unescaped(response.text)
            parts = [guide.title, guide.means, *guide.steps, guide.over, guide.safe]
            parts += [part for look in guide.look for part in dataclasses.astuple(look)]
            assert [part for part in parts if part.replace("`", "") not in shown] == []

    def test_the_subject_of_the_fault_is_in_its_commands(self, viewer: Client) -> None:
        shown = self.page(viewer, "paused", "shop_db").text
        assert "manage.py integrity resume --database shop_db" in shown
        assert "DATABASE" not in shown

    def test_nothing_but_a_name_gets_into_a_command(self, viewer: Client) -> None:
        for subject in ("a b", "x; rm -rf", "--all", "$(id)", "a\nb", "a\n", "<i>", "x" * 300):
            shown = unescaped(self.page(viewer, "paused", subject).text)
            assert "integrity resume --database DATABASE." in shown, subject

    def test_it_links_to_the_guides_that_it_names(self, viewer: Client) -> None:
        for kind, guide in GUIDES.items():
            named = {*OTHER.findall(" ".join(guide.steps))}
            assert named <= GUIDES.keys(), kind
            shown = self.page(viewer, kind).text
            assert {*re.findall(r'href="\.\./(\w+)/"', shown)} == named

    def test_an_unknown_kind_is_not_found_and_shows_which_there_are(self, viewer: Client) -> None:
        response = self.page(viewer, "nonsense")
        assert response.status_code == HTTPStatus.NOT_FOUND
        for kind in GUIDES:
            assert reverse("admin:integrity_dashboard_guide", args=[kind]) in response.text

    def test_the_index_lists_them(self, viewer: Client) -> None:
        shown = unescaped(viewer.get(reverse("admin:integrity_dashboard_guides")).text)
        assert [guide.title for guide in GUIDES.values() if guide.title not in shown] == []


def unescaped(page: str) -> str:
    import html

    return html.unescape(re.sub(r"</?code>|<a href=\"\.\./\w+/\">|</a>", "", page))


def test_a_subject_is_taken_as_text() -> None:
    guide: Guide = GUIDES["brake"].addressed("blog.Post.author")
    assert "repair --relation blog.Post.author --apply" in " ".join(guide.steps)
    assert GUIDES["brake"].addressed(r"a\1").steps == GUIDES["brake"].steps
    assert GUIDES["beat"].addressed("blog_db") == GUIDES["beat"]
