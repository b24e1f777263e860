"""Rows that the server hides are unknown, not gone: nothing is deleted, and nothing is verified.

With roles that row security applies to: the tests' own owns the tables, and is shown everything.
"""

# ruff: noqa: S608 - names of tables and roles of these tests

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from apps.blog.models import Comment, Post
from apps.integrity import backends, cascade, relations, scan, testing
from apps.integrity.cascade import time_slice, verification
from apps.integrity.checks import databases, doctor
from apps.integrity.exceptions import FilteredRead
from apps.integrity.log import suspects
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.report import elsewhere, preview
from apps.integrity.scan import brake, parents, repair
from apps.shop.models import Order
from tests import log_rows, superuser
from tests.kinds.lite.models import Author, Note
from tests.kinds.parents.models import Mixed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django import DjangoDbBlocker

    from tests.conftest import Captured, Tune

    AsWorker = Callable[[], Any]

pytestmark = pytest.mark.usefixtures("committed")

AUTHOR = "blog.Post.author"
PG = ("default", "blog_db", "shop_db", "test_left", "test_right")
USERS, HIDDEN = 300, 60


def run(alias: str, *statements: str) -> None:
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture(scope="module")
def role(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[str, str]]:
    """A role that may do all that a worker does, and that is no superuser, nor BYPASSRLS."""
    name, secret = f"worker_{secrets.token_hex(4)}", secrets.token_hex(8)
    with django_db_blocker.unblock():
        for alias in PG:
            with superuser.session(alias) as own:
                if not own.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
                    own.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{secret}'".encode())
            run(
                alias,
                f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
                f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}",
                f"GRANT CREATE ON SCHEMA public TO {name}",
            )
    yield name, secret
    with django_db_blocker.unblock():
        for alias in PG:
            superuser.run(alias, f"DROP OWNED BY {name}")
        for alias in PG:
            superuser.run(alias, f"DROP ROLE IF EXISTS {name}")


@pytest.fixture
def as_worker(role: tuple[str, str]) -> AsWorker:
    @contextmanager
    def logged_in() -> Iterator[None]:
        name, secret = role
        with pytest.MonkeyPatch.context() as patch:
            for alias in PG:
                connections[alias].close()
                patch.setitem(connections[alias].settings_dict, "USER", name)
                patch.setitem(connections[alias].settings_dict, "PASSWORD", secret)
            try:
                yield
            finally:
                for alias in PG:
                    connections[alias].close()

    return logged_in


@contextmanager
def row_security(alias: str, table: str, shows: str, *, force: bool = False) -> Iterator[None]:
    """Row security on a table, whose policy shows the rows for which `shows` is true."""
    run(
        alias,
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        *([f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"] if force else []),
        f"CREATE POLICY some_rows ON {table} USING ({shows})",
    )
    try:
        yield
    finally:
        connections[alias].close()
        run(
            alias,
            f"DROP POLICY some_rows ON {table}",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
        )


@contextmanager
def behind(alias: str, table: str, where: str = "true", kind: str = "VIEW") -> Iterator[None]:
    """A view in place of a table, which shows the rows for which `where` is true."""
    run(
        alias,
        f"ALTER TABLE {table} RENAME TO real_{table}",
        f"CREATE {kind} {table} AS SELECT * FROM real_{table} WHERE {where}",
        *(
            ["GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC"]
            if connections[alias].vendor == "postgresql"
            else []
        ),
    )
    try:
        yield
    finally:
        connections[alias].close()
        run(alias, f"DROP {kind} {table}", f"ALTER TABLE real_{table} RENAME TO {table}")
        if connections[alias].vendor == "postgresql":
            run(alias, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC")


@pytest.fixture
def users(tune: Tune) -> list[User]:
    """Users with a post and an order each; those with an odd name are to be hidden."""
    tune(grace_seconds=0.001, brake_keys=200)
    made = [User(username=f"{'hidden' if at < HIDDEN else 'seen'} {at}") for at in range(USERS)]
    User.objects.bulk_create(made)
    Post.objects.bulk_create(Post(title="t", content="c", author=each) for each in made)
    Order.objects.bulk_create(
        Order(order_number=str(each.pk), customer=each, total=1) for each in made
    )
    return made


SEEN = "username LIKE 'seen%'"
WAYS = {
    "row security": lambda: row_security("default", "auth_user", SEEN),
    "a view": lambda: behind("default", "auth_user", SEEN),
    "a materialized view": lambda: behind("default", "auth_user", SEEN, "MATERIALIZED VIEW"),
}


@pytest.fixture(params=WAYS)
def parents_hidden(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return WAYS[request.param]


def work() -> None:
    dispatch.sweep_all()
    for alias in ("blog_db", "shop_db"):
        cascade.drain(alias, seconds=5)
        verification.verify(alias)


def told(text: str, table: str, alias: str) -> None:
    """It names the table, the database and a remedy."""
    assert f"'{table}' in '{alias}'" in text
    assert "BYPASSRLS" in text or "let the model name the table itself" in text.lower()


class TestHiddenParents:
    def test_a_scan_finds_no_orphans_among_the_hidden(
        self, users: list[User], parents_hidden: Callable[[], Any], as_worker: AsWorker
    ) -> None:
        with parents_hidden(), as_worker():
            (scanned,), _ = scan.scan("blog_db", labels=[AUTHOR])
            assert (scanned.suspects, scanned.complete) == (0, False)
            told(scanned.reason, "auth_user", "default")
        assert not Deletion.objects.exists()

    def test_what_was_suspected_before_is_not_confirmed(
        self, users: list[User], parents_hidden: Callable[[], Any], as_worker: AsWorker
    ) -> None:
        relation = relations.catalogue().relation(AUTHOR)
        keys = [str(each.pk) for each in users[:HIDDEN]]
        suspects.suspect(
            relation, keys, parents.barriers_of(relation), database="blog_db", using="default"
        )
        with parents_hidden(), as_worker():
            (done,) = repair.repair([relation])
            told(done.reason, "auth_user", "default")
            effects, uncounted = preview.repairs([relation])
            assert effects == []
            told(uncounted[AUTHOR].reason, "auth_user", "default")
        assert Suspect.objects.exists()
        assert not Deletion.objects.exists()

    def test_a_cascade_leaves_the_rows_of_the_hidden(
        self, users: list[User], parents_hidden: Callable[[], Any], as_worker: AsWorker
    ) -> None:
        """Deletions of the living, as a restore or a forged log would leave them."""
        for user in users[:HIDDEN]:
            Deletion.objects.create(parent="auth.User", key=str(user.pk), source="api")
        with parents_hidden(), as_worker():
            work()
            told(Cascade.objects.filter(database="blog_db")[0].reason, "auth_user", "default")
            assert {*Cascade.objects.values_list("attempts", flat=True)} == {0}
        assert Post.objects.count() == Order.objects.count() == USERS
        assert not Cascade.objects.filter(state__in=["done", "verified"]).exists()
        Cascade.objects.update(state="pending", attempts=0, due_at="2000-01-01T00:00Z")
        with as_worker():
            work()
        assert {*log_rows.states()} == {"kept"}
        assert Post.objects.count() == USERS

    def test_those_that_are_seen_are_alive(self, users: list[User], as_worker: AsWorker) -> None:
        Deletion.objects.create(parent="auth.User", key=str(users[-1].pk), source="api")
        with WAYS["row security"](), as_worker():
            work()
        assert Deletion.objects.get().state == "kept"

    def test_assert_no_orphans_raises_in_place_of_naming_some(
        self, users: list[User], parents_hidden: Callable[[], Any], as_worker: AsWorker
    ) -> None:
        with parents_hidden(), as_worker(), pytest.raises(FilteredRead, match="auth_user"):
            testing.assert_no_orphans(AUTHOR)

    def test_a_table_of_parents_that_shows_no_row_is_not_called_empty(
        self, users: list[User], as_worker: AsWorker
    ) -> None:
        relation = relations.catalogue().relation(AUTHOR)
        with (
            row_security("default", "auth_user", "false"),
            as_worker(),
            pytest.raises(FilteredRead),
        ):
            brake.is_empty(relation)
        assert not brake.is_empty(relation)

    def test_a_replacement_is_not_called_missing(self, as_worker: AsWorker) -> None:
        from apps.integrity.cascade import strategies

        user = User.objects.create(username="hidden")
        field = relations.catalogue().relation(AUTHOR).field
        with WAYS["row security"](), as_worker(), pytest.raises(FilteredRead):
            strategies._lives(field, user.pk)
        assert strategies._lives(field, user.pk)

    def test_an_owner_whom_force_applies_to(
        self,
        users: list[User],
        as_worker: AsWorker,
        role: tuple[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(f"{__name__}.run", superuser.run)
        us = connections["default"].settings_dict["USER"]
        run("default", f"ALTER TABLE auth_user OWNER TO {role[0]}")
        try:
            with as_worker():
                (scanned,), _ = scan.scan("blog_db", labels=[AUTHOR])
                assert scanned.complete
            with row_security("default", "auth_user", SEEN), as_worker():
                (scanned,), _ = scan.scan("blog_db", labels=[AUTHOR])
                assert (scanned.suspects, scanned.complete) == (0, True)  # the owner sees all
            with row_security("default", "auth_user", SEEN, force=True), as_worker():
                (scanned,), _ = scan.scan("blog_db", labels=[AUTHOR])
                told(scanned.reason, "auth_user", "default")
        finally:
            run(
                "default",
                f"ALTER TABLE auth_user OWNER TO {us}",
                f"GRANT ALL ON auth_user TO {role[0]}",
            )

    def test_bypassrls_is_the_remedy(
        self, users: list[User], as_worker: AsWorker, role: tuple[str, str]
    ) -> None:
        superuser.run("default", f"ALTER ROLE {role[0]} BYPASSRLS")
        try:
            with WAYS["row security"](), as_worker():
                (scanned,), _ = scan.scan("blog_db", labels=[AUTHOR])
                assert (scanned.suspects, scanned.complete) == (0, True)
        finally:
            superuser.run("default", f"ALTER ROLE {role[0]} NOBYPASSRLS")

    def test_it_is_switched_on_between_the_claim_and_the_look(
        self, users: list[User], as_worker: AsWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = users[0]
        pk = gone.pk
        gone.delete()
        dispatch.sweep_all()
        User.objects.create(pk=pk, username="hidden again")
        with as_worker():
            entered = WAYS["row security"]()

            def switch(claim: Any, init: Any = time_slice.LiveClaim) -> Any:
                entered.__enter__()
                return init(claim)

            monkeypatch.setattr(time_slice, "LiveClaim", switch)
            # The policy is made on a session of its own.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(f"{__name__}.run", superuser.run)
                cascade.drain("blog_db", seconds=0)
                entered.__exit__(None, None, None)
            monkeypatch.undo()
        assert Post.objects.filter(author_id=pk).count() == 1
        assert Cascade.objects.get(database="blog_db").state != "done"


class TestHiddenChildren:
    @pytest.fixture(params=["row security", "a view", "a materialized view"])
    def children_hidden(self, request: pytest.FixtureRequest) -> Any:
        if request.param == "row security":
            return lambda: row_security("blog_db", "blog_post", "false")
        kind = request.param.removeprefix("a ").upper()
        return lambda: behind("blog_db", "blog_post", "false", kind)

    def test_nothing_is_done_verified_or_scanned_and_others_go_on(
        self, users: list[User], children_hidden: Callable[[], Any], as_worker: AsWorker
    ) -> None:
        User.objects.filter(pk__in=[each.pk for each in users[:5]]).delete()
        with children_hidden(), as_worker():
            work()
            waiting = Cascade.objects.filter(database="blog_db")
            assert not waiting.filter(state__in=["done", "verified"]).exists()
            told(waiting[0].reason, "blog_post", "blog_db")
            assert {*waiting.values_list("attempts", flat=True)} == {0}
            (scanned,), _ = scan.scan("blog_db", labels=[AUTHOR])
            assert not scanned.complete
            told(scanned.reason, "blog_post", "blog_db")
            with pytest.raises(FilteredRead, match="blog_post"):
                preview.preview_of("auth.User", str(users[-1].pk))
            with pytest.raises(CommandError, match="blog_post"):
                call_command("integrity", "preview", "auth.User", str(users[-1].pk))
            (blog, *_) = [
                each
                for each in elsewhere.effects_elsewhere(User, [users[-1].pk], lambda _: True)
                if each.database == "blog_db"
            ]
            assert (blog.effects, blog.uncounted) == ([], True)
        assert Post.objects.count() == USERS
        assert Order.objects.count() == USERS - 5

    def test_what_was_done_is_not_verified(
        self, users: list[User], children_hidden: Callable[[], Any], as_worker: AsWorker
    ) -> None:
        gone = users[0].pk
        users[0].delete()
        dispatch.sweep_all()
        cascade.drain("blog_db")
        late = Post.objects.create(title="late", content="c", author_id=gone)
        with children_hidden(), as_worker():
            verification.verify("blog_db")
            assert not Cascade.objects.filter(state="verified").exists()
            told(Cascade.objects.get(database="blog_db").reason, "blog_post", "blog_db")
        assert Post.objects.filter(pk=late.pk).exists()

    def test_rows_below_them_are_not_left_behind(
        self, users: list[User], as_worker: AsWorker
    ) -> None:
        post = Post.objects.get(author=users[0])
        Comment.objects.create(post=post, author=users[1], content="c")
        users[0].delete()
        with row_security("blog_db", "blog_comment", "false"), as_worker():
            work()
            assert not Cascade.objects.filter(database="blog_db", state="done").exists()
            told(Cascade.objects.get(database="blog_db").reason, "blog_comment", "blog_db")
            assert not Cascade.objects.filter(attempts__gt=0).exclude(state="verified").exists()
        assert Post.objects.filter(pk=post.pk).exists()


class TestOnSQLite:
    def test_parents_shown_by_a_view(self, tune: Tune) -> None:
        author = Author.objects.create()
        field = Author._meta.pk
        form = backends.row_backend("test_lite")
        with (
            behind("test_lite", "lite_author", "0"),
            pytest.raises(FilteredRead, match=r"lite_author.*view"),
        ):
            form.keys_with_rows(field, [author.pk], using="test_lite")
        assert form.keys_with_rows(field, [author.pk], using="test_lite") == {author.pk}

    @pytest.mark.parametrize("kind", ["VIEW", "TEMP VIEW"])
    def test_children_shown_by_a_view(self, kind: str, tune: Tune) -> None:
        tune(grace_seconds=0.001)
        gone, kept = Mixed.objects.create(), Mixed.objects.create()
        for each in (gone, kept):
            Note.objects.create(mixed=each)
        gone.delete()
        dispatch.sweep_all()
        hidden = behind("test_lite", "lite_note", "0") if kind == "VIEW" else temporary("lite_note")
        with hidden:
            cascade.drain("test_lite", seconds=0)
            verification.verify("test_lite")
            assert Cascade.objects.get(database="test_lite").state not in {"done", "verified"}
            assert "lite_note" in Cascade.objects.get(database="test_lite").reason
            (scanned,), _ = scan.scan("test_lite", labels=["lite.Note.mixed"])
            assert "'lite_note' in 'test_lite'" in scanned.reason
        Cascade.objects.update(state="pending", due_at="2000-01-01T00:00Z")
        cascade.drain("test_lite")
        assert Note.objects.get().mixed_id == kept.pk


@contextmanager
def temporary(table: str) -> Iterator[None]:
    run("test_lite", f"CREATE TEMP VIEW {table} AS SELECT * FROM main.{table} WHERE 0")
    try:
        yield
    finally:
        run("test_lite", f"DROP VIEW temp.{table}")


class TestWhatIsCheap:
    def test_a_temporary_table_of_that_name(self, users: list[User], as_worker: AsWorker) -> None:
        field = relations.catalogue().relation(AUTHOR).target
        with as_worker():
            run("default", "CREATE TEMP TABLE auth_user AS SELECT * FROM auth_user LIMIT 0")
            with pytest.raises(FilteredRead, match="temporary"):
                backends.row_backend("default").keys_with_rows(
                    field, [users[0].pk], using="default"
                )

    def test_no_look_takes_another_round_trip(self, users: list[User], captured: Captured) -> None:
        relation = relations.catalogue().relation(AUTHOR)
        pk = [users[0].pk]
        with captured:
            backends.row_backend("default").keys_with_rows(relation.target, pk, using="default")
            backends.row_backend("blog_db").keys_with_rows(relation.field, pk, using="blog_db")
            backends.row_backend("shop_db").count_rows(
                relations.catalogue().relation("shop.Order.customer").field, pk, using="shop_db"
            )
        assert [len(captured[alias]) for alias in ("default", "blog_db", "shop_db")] == [1, 1, 1]

    def test_foreign_and_partitioned_tables_are_tables(self) -> None:
        from apps.integrity.backends import visibility

        superuser.run(
            "blog_db",
            "CREATE TABLE parted (id int) PARTITION BY HASH (id)",
            "CREATE FOREIGN DATA WRAPPER nobody",
            "CREATE SERVER nowhere FOREIGN DATA WRAPPER nobody",
            "CREATE FOREIGN TABLE far (id int) SERVER nowhere",
            "CREATE VIEW seen AS SELECT 1 AS id",
        )
        try:
            found = visibility._ask(['"parted"', '"far"', '"seen"', '"none"'], "blog_db")
            assert {name: cause for _, name, cause in found} == {
                '"parted"': None, '"far"': None, '"seen"': "view",
            }  # fmt: skip
        finally:
            superuser.run(
                "blog_db", "DROP VIEW seen", "DROP TABLE parted",
                "DROP FOREIGN DATA WRAPPER nobody CASCADE",
            )  # fmt: skip


class TestWhoTellsOfIt:
    def test_doctor_and_check(self, users: list[User], as_worker: AsWorker) -> None:
        with (
            row_security("default", "auth_user", SEEN),
            row_security("blog_db", "blog_comment", SEEN.replace("username", "content")),
            row_security("default", "integrity_deletion", "false"),
            behind("shop_db", "shop_order"),
            as_worker(),
        ):
            wrong = {each.name: each.detail for each in doctor.examine(None) if not each.ok}
            for name in (
                "rows auth.User in default", "rows blog.Comment in blog_db",
                "rows integrity.Deletion in default",
            ):  # fmt: skip
                assert "BYPASSRLS" in wrong[name]
            assert "it is a view" in wrong["rows shop.Order in shop_db"]
            found = databases.asked(["default", "blog_db", "shop_db"])
            assert sorted((each.id, each.obj._meta.label) for each in found) == [
                ("integrity.E013", "auth.User"),
                ("integrity.E013", "blog.Comment"),
                ("integrity.E013", "integrity.Deletion"),
                ("integrity.E014", "shop.Order"),
            ]
        assert databases.asked(["default", "blog_db", "shop_db"]) == []

    def test_grants_say_what_else_it_takes(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ("integrity", "grants", 'the "worker"', "--database", "default")
        with row_security("default", "auth_user", SEEN):
            call_command(*arguments)
            line = '-- as a superuser, ALTER ROLE "the ""worker""" BYPASSRLS;\n'
            assert capsys.readouterr().out.endswith(
                f"auth_user. The worker has to see all rows:\n{line}"
            )
        call_command(*arguments)
        assert "BYPASSRLS" not in capsys.readouterr().out

    def test_a_rule_is_warned_of(self) -> None:
        run("blog_db", "CREATE RULE kept AS ON DELETE TO blog_post DO INSTEAD NOTHING")
        try:
            (found,) = databases.asked(["blog_db"])
            assert (found.id, "kept" in found.msg) == ("integrity.W012", True)
        finally:
            run("blog_db", "DROP RULE kept ON blog_post")
