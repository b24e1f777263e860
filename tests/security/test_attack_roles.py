"""What a stolen password of web, workers, pages or beat can do, and what the server refuses.

Each statement is tried on a real server by a role that has what `integrity grants` prints. The
table of docs/how-to/least-privilege.md says what is tried here, and no more.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.test import Client
from django.urls import reverse
from psycopg.errors import GeneratedAlways

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.management.verbs import VERBS
from apps.integrity.models import Audit, Cascade, Deletion, Suspect
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from tests import log_rows, roles, superuser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import DjangoDbBlocker
    from pytest_django.fixtures import Settings

    from tests.conftest import Tune
    from tests.roles import LogIn

#: Roles of MariaDB are in tests/engines/mariadb/test_mariadb_grants.py.
pytestmark = [pytest.mark.postgresql, pytest.mark.usefixtures("committed")]

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "least-privilege.md"
REFUSED = "42501"  # insufficient_privilege
FINDINGS, INCOMPLETE = 3, 4


@pytest.fixture(scope="module")
def log_in(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[LogIn]:
    with django_db_blocker.unblock(), roles.made() as logged_in:
        yield logged_in


@pytest.fixture
def ann() -> User:
    """With rows of her own, and a comment under the post of somebody else."""
    ann, bob = (User.objects.create(username=name, password="!") for name in ("ann", "bob"))
    for user in (ann, bob):
        post = Post.objects.create(title="t", content="c", author=user)
        Comment.objects.create(post=post, author=ann, content="c")
        Order.objects.create(order_number=user.username, customer=user, total=1)
    return ann


def execute(alias: str, statement: str, *params: Any) -> Any:
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else cursor.rowcount


#: What no role of the product may do, whatever else it may.
EVERYWHERE = {
    "create a table": "CREATE TABLE public.mine (id int)",
    "create a function": "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "create a schema": "CREATE SCHEMA mine",
    "create a role": "CREATE ROLE mine",
    "install dblink": "CREATE EXTENSION dblink",
    "become a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "see past row security": "ALTER ROLE CURRENT_USER BYPASSRLS",
    "act as the definer": "SET ROLE integrity_log",
    "read a file": "SELECT pg_read_file('postgresql.conf')",
    "list files": "SELECT pg_ls_dir('.')",
    "run a program": "COPY (SELECT 1) TO PROGRAM 'cat'",
    "write a file": "COPY (SELECT 1) TO '/tmp/integrity'",
    "import a file": "SELECT lo_import('/etc/passwd')",
    "reload the configuration": "SELECT pg_reload_conf()",
    "change the configuration": "ALTER SYSTEM SET log_statement = 'all'",
    "skip triggers": "SET session_replication_role = replica",
    "read passwords of roles": "SELECT rolpassword FROM pg_authid",
}
#: And what it may not do in the database of the parents.
WITH_PARENTS = {
    "hang a trigger on the log": (
        "CREATE TRIGGER mine BEFORE INSERT ON integrity_deletion"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "disable its triggers": "ALTER TABLE integrity_deletion DISABLE TRIGGER ALL",
    "lay a rule over it": "CREATE RULE mine AS ON DELETE TO auth_user DO INSTEAD NOTHING",
    "truncate the log": "TRUNCATE integrity_deletion CASCADE",
    "truncate the parents": "TRUNCATE auth_user CASCADE",
    "drop the log": "DROP TABLE integrity_deletion CASCADE",
    "hand its rights on": "ALTER TABLE integrity_deletion OWNER TO CURRENT_USER",
    "rewrite the audit": "UPDATE integrity_audit SET actor = 'x'",
    "delete the audit": "DELETE FROM integrity_audit",
    "date the audit": (
        "INSERT INTO integrity_audit (at, actor, verb, target) VALUES (now(), 'a', 'b', 'c')"
    ),
    "number the audit": (
        "INSERT INTO integrity_audit (id, actor, verb, target) VALUES (9, 'a', 'b', 'c')"
    ),
    "re-aim a key": "UPDATE integrity_deletion SET key = '1'",
    "re-aim a parent": "UPDATE integrity_deletion SET parent = 'auth.User'",
    "re-aim a value": "UPDATE integrity_deletion SET targets = '{}'",
    "re-aim a relation": "UPDATE integrity_deletion SET relation = ''",
    "change the source": "UPDATE integrity_deletion SET source = 'signal'",
    "date a deletion": (
        "INSERT INTO integrity_deletion (parent, key, source, recorded_at)"
        " VALUES ('auth.User', '1', 'signal', now())"
    ),
    "forge a proof": (
        "INSERT INTO integrity_deletion (parent, key, source, cancelled_at)"
        " VALUES ('auth.User', '1', 'signal', now())"
    ),
    "insert a deletion into a batch": (
        "INSERT INTO integrity_deletion (parent, key, source, batch)"
        " VALUES ('auth.User', '1', 'signal', 1)"
    ),
    "re-aim a suspect": "UPDATE integrity_suspect SET value = '1'",
    "re-aim a cascade": "UPDATE integrity_cascade SET database = 'shop_db'",
    "move a cascade": "UPDATE integrity_cascade SET batch = 1",
    "re-aim a batch": "UPDATE integrity_cascade SET parent = 'auth.User'",
    "re-aim a scan": "UPDATE integrity_scan SET relation = 'x'",
    "change the timetable's history": "DELETE FROM django_celery_beat_periodictask",
}
#: What workers, the pages and beat may not do with parents and with the site's own tables.
NO_PARENTS = {
    "read passwords": "SELECT password FROM auth_user",
    "read e-mails": "SELECT email FROM auth_user",
    "read whole parents": "SELECT * FROM auth_user",
    "lock parents": "SELECT id FROM auth_user FOR UPDATE",
    "change parents": "UPDATE auth_user SET is_superuser = true",
    "change keys of parents": "UPDATE auth_user SET id = 1",
    "insert parents": "INSERT INTO auth_user (username) VALUES ('x')",
    "delete parents": "DELETE FROM auth_user",
    "read sessions": "SELECT session_data FROM django_session",
    "write sessions": "INSERT INTO django_session VALUES ('a', 'b', now())",
    "read the admin's history": "SELECT * FROM django_admin_log",
}
IN_BLOG = {
    "read content": "SELECT content FROM blog_post",
    "read whole rows": "SELECT * FROM blog_comment",
    "copy rows out": "COPY blog_post TO STDOUT",
    "insert content": "INSERT INTO blog_post (title) VALUES ('x')",
    "change content": "UPDATE blog_post SET title = 'x'",
    "re-point content": "UPDATE blog_post SET author_id = 1",
    "truncate content": "TRUNCATE blog_comment",
    "drop content": "DROP TABLE blog_comment",
    "index content": "CREATE INDEX ON blog_post (title)",
}
IN_LEFT = {
    "delete rows that are only changed": "DELETE FROM left_nulled",
    "delete rows that protect": "DELETE FROM left_protecting",
    "renumber rows that are only changed": "UPDATE left_nulled SET id = 1",
}
PAGES_END_NOTHING = {
    "delete the log": "DELETE FROM integrity_deletion",
    "delete cascades": "DELETE FROM integrity_cascade",
    "end a deletion": "UPDATE integrity_deletion SET cancelled_at = now()",
    "put a deletion into a batch": "UPDATE integrity_deletion SET batch = 1",
    "date a verification": "UPDATE integrity_cascade SET verified_at = now()",
    "date an end": "UPDATE integrity_cascade SET ended_at = now()",
    "pass a barrier": "UPDATE integrity_cascade SET barrier = 1",
    "change a reason": "UPDATE integrity_cascade SET reason = ''",
}
LOG_OF_THE_SITE = {
    "read the log": "SELECT batch FROM integrity_deletion",
    "end a deletion": "UPDATE integrity_deletion SET cancelled_at = now()",
    "delete the log": "DELETE FROM integrity_deletion",
    "begin cascades": "INSERT INTO integrity_cascade DEFAULT VALUES",
    "read cascades": "SELECT id FROM integrity_cascade",
    "write the audit": "INSERT INTO integrity_audit (actor, verb, target) VALUES ('a', 'b', 'c')",
    "aim a deletion at one relation": (
        "INSERT INTO integrity_deletion (parent, key, source, relation)"
        " VALUES ('auth.User', '1', 'scan', 'blog.Post.author')"
    ),
}


#: Which of them is tried by whom, and where.
KINDS = ("web", "worker", "dashboard", "beat", "nobody")
TRIED: list[tuple[tuple[str, ...], str, dict[str, str]]] = [
    (KINDS, "blog_db", EVERYWHERE),
    (KINDS, "default", WITH_PARENTS),
    (KINDS, "blog_db", IN_BLOG),
    (KINDS, "test_left", IN_LEFT),
    (KINDS, "shop_db", {"read a table of no relation": "SELECT name FROM shop_product"}),
    (("worker", "dashboard", "beat", "nobody"), "default", NO_PARENTS),
    (("web", "beat", "nobody"), "default", LOG_OF_THE_SITE),
    (("web", "dashboard", "beat"), "blog_db", {"delete content": "DELETE FROM blog_post"}),
    (("web",), "default", {key: NO_PARENTS[key] for key in ("change parents", "insert parents")}),
    (("dashboard",), "default", PAGES_END_NOTHING),
    (("worker",), "default", {"read the audit": "SELECT actor FROM integrity_audit"}),
]


def refused(alias: str, statement: str) -> bool:
    """Outside of a transaction: some statements want none."""
    with connections[alias].cursor() as cursor:
        try:
            cursor.execute(statement)
        except DatabaseError as error:
            return bool(error.__cause__.sqlstate == REFUSED)
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_refuses(log_in: LogIn, kind: str) -> None:
    tried = [
        (alias, what, statement)
        for kinds, alias, statements in TRIED
        if kind in kinds
        for what, statement in statements.items()
    ]
    assert len(tried) > 50
    with log_in(kind):
        done = [what for alias, what, statement in tried if not refused(alias, statement)]
    assert done == []


def test_the_guide_says_what_was_tried() -> None:
    said = " ".join(GUIDE.read_text().split())
    of = {kind: [what for who, _, each in TRIED if kind in who for what in each] for kind in KINDS}
    every = [what for what in of["nobody"] if all(what in tried for tried in of.values())]
    assert f"Refused to every role: {', '.join(every)}." in said
    for kind in ("worker", "web", "dashboard", "beat"):
        more = dict.fromkeys(what for what in of[kind] if what not in every)
        assert f"To {kind} also: {', '.join(more)}." in said


def test_nobody_ends_the_sessions_of_others(log_in: LogIn) -> None:
    with superuser.session("default") as other:
        ((pid,),) = other.execute("SELECT pg_backend_pid()").fetchall()
        for kind in ("web", "worker", "dashboard", "beat"):
            with log_in(kind), pytest.raises(DatabaseError) as refusal:
                execute("default", f"SELECT pg_terminate_backend({pid})")
            assert refusal.value.__cause__.sqlstate == REFUSED
        assert other.execute("SELECT 1").fetchall() == [(1,)]


class TestWhatRemains:
    """The guide owns up to it: these succeed."""

    def test_a_worker_renumbers_rows_that_nothing_refers_to(self, log_in: LogIn, ann: User) -> None:
        comment = Comment.objects.first()
        assert comment is not None
        with log_in("worker"):
            assert execute("blog_db", "UPDATE blog_comment SET id = 777 WHERE id = %s", comment.pk)
            with pytest.raises(IntegrityError):  # a post that has comments
                execute("blog_db", "UPDATE blog_post SET id = id + 1000")
        assert Comment.objects.filter(pk=777).exists()

    def test_a_column_that_nobody_can_set_gives_the_lock_as_well(self, log_in: LogIn) -> None:
        role = "sealer"
        superuser.run(
            "blog_db",
            "CREATE TABLE sealed (id int, seal int GENERATED ALWAYS AS (1) STORED)",
            "INSERT INTO sealed VALUES (1)",
            f"CREATE ROLE {role}",
            f'GRANT SELECT (id), UPDATE ("seal") ON sealed TO {role}',
        )
        try:
            with superuser.session("blog_db") as own:
                own.execute(f"SET ROLE {role}")
                assert own.execute("SELECT id FROM sealed FOR UPDATE").fetchall() == [(1,)]
                for change in ("seal = 2", "seal = id", "seal = NULL"):
                    with pytest.raises(GeneratedAlways):
                        own.execute(f"UPDATE sealed SET {change}".encode())  # noqa: S608 (above)
        finally:
            superuser.run("blog_db", "DROP TABLE sealed", f"DROP ROLE {role}")

    def test_a_worker_loses_work(self, log_in: LogIn, ann: User) -> None:
        ann.delete()
        with log_in("worker"):
            assert execute("default", "UPDATE integrity_deletion SET cancelled_at = now()") == 1
            assert execute("default", "DELETE FROM integrity_deletion") == 1
        assert Post.objects.filter(author_id__isnull=False).count() == 2  # a scan finds hers

    @pytest.mark.parametrize("kind", ["web", "worker"])
    def test_a_forged_deletion_takes_no_living_row(
        self, log_in: LogIn, ann: User, kind: str
    ) -> None:
        forged = (
            "INSERT INTO integrity_deletion (parent, key, source)"
            " VALUES ('auth.User', %s, 'signal')"
        )
        with log_in(kind):
            execute("default", forged, str(ann.pk))
        with log_in("worker"):
            dispatch.sweep_all()
            for database in ("blog_db", "shop_db"):
                assert cascade.drain(database).rows == {}
        assert Deletion.objects.get().state == "kept"
        assert (Post.objects.count(), Order.objects.count()) == (2, 2)

    @pytest.mark.parametrize("parent", ["auth.User", "blog.Post"])
    @pytest.mark.parametrize("kind", ["worker", "dashboard"])
    def test_a_forged_cascade_takes_no_living_row(
        self, log_in: LogIn, ann: User, kind: str, parent: str
    ) -> None:
        """Not even where the deletion is one of another parent, with the same key."""
        with log_in(kind):
            [[pk]] = execute(
                "default",
                "INSERT INTO integrity_deletion (parent, key, source) VALUES (%s, %s, 'signal')"
                " RETURNING id",
                parent,
                str(ann.pk),
            )
            execute(
                "default",
                "INSERT INTO integrity_cascade"
                " (batch, database, parent, deletions, size, recorded_at)"
                " VALUES (%s, 'blog_db', 'auth.User', ARRAY[%s::bigint], 1, now())",
                pk,
                pk,
            )
        with log_in("worker"):
            assert cascade.drain("blog_db").rows == {}
        assert Cascade.objects.get().state == "kept"
        assert (Post.objects.count(), Comment.objects.count()) == (2, 2)

    def test_the_pages_change_what_a_receipt_says_and_lose_work(
        self, log_in: LogIn, ann: User
    ) -> None:
        ann.delete()
        dispatch.sweep_all()
        assert sum(cascade.drain("blog_db").rows.values()) == 3
        with log_in("dashboard"):
            changed = "UPDATE integrity_cascade SET rows = '{}', state = 'verified'"
            assert execute("default", f"{changed} WHERE database = 'blog_db'") == 1
            inserted = (
                "INSERT INTO integrity_cascade"
                " (batch, database, parent, deletions, size, state, recorded_at, verified_at)"
                " SELECT batch, 'blog_db', parent, ARRAY[id], 1, 'verified', now(), now()"
                " FROM integrity_deletion"
            )
            assert execute("default", inserted) == 1
            emptied = "UPDATE integrity_cascade SET deletions = '{}' WHERE database = 'shop_db'"
            assert execute("default", emptied) == 1
        assert cascade.drain("shop_db").rows == {}
        assert Order.objects.count() == 2  # a scan finds hers

    @pytest.mark.parametrize("kind", ["worker", "dashboard"])
    def test_the_audit_takes_any_name_and_the_time_of_the_server(
        self, log_in: LogIn, kind: str
    ) -> None:
        with log_in(kind):
            execute(
                "default",
                "INSERT INTO integrity_audit (actor, verb, target) VALUES ('root', 'x', 'y')",
            )
        with superuser.session("default") as own:
            ((near,),) = own.execute(
                "SELECT clock_timestamp() - at < interval '1 minute' FROM integrity_audit"
            ).fetchall()
        assert near
        assert Audit.objects.get().actor == "root"


#: Each verb of the command as a worker runs it, after `ann` was deleted; and its exit code.
AS_WORKER: dict[str, tuple[list[str], int]] = {
    "relations": (["relations"], 0),
    "preview": (["preview", "auth.User", "{bob}"], 0),
    "status": (["status"], INCOMPLETE),
    "pause": (["pause", "--database", "shop_db", "--reason", "a look"], 0),
    "resume": (["resume", "--database", "shop_db"], 0),
    "retry": (["retry", "--all"], 0),
    "acknowledge": (["acknowledge", "--all"], 0),
    "drain": (["drain", "--verify", "--timeout", "60"], 0),
    "receipt": (["receipt", "auth.User", "{ann}"], 0),
    "receipts": (["receipts"], 0),
    "scan": (["scan", "--full"], FINDINGS),
    "repair": (["repair", "--apply"], 0),
    "doctor": (["doctor"], FINDINGS),
    "grants": (["grants", "worker"], 0),
    "alerts": (["alerts"], 0),
    "rename": (["rename", "gone_db", "blog_db", "--alias"], 0),
    "replay": (["replay", "--apply"], 0),
}
#: What the owner of the tables does in their place.
FOR_THE_OWNER = {"install-triggers", "purge", "rename"}


def ask(*arguments: str) -> tuple[str, int]:
    out, code = io.StringIO(), 0
    try:
        call_command("integrity", *arguments, stdout=out, stderr=io.StringIO())
    except SystemExit as end:
        code = int(end.code or 0)
    return out.getvalue(), code


class TestTheCycle:
    def test_every_verb_as_the_worker(self, log_in: LogIn, ann: User, tune: Tune) -> None:
        tune(grace_seconds=0.001, brake_keys=100)
        key, bob = str(ann.pk), User.objects.get(username="bob")
        with log_in("web"):
            ann.delete()
        Post.objects.create(title="orphan", content="c", author_id=9_999)
        with log_in("worker"):
            for verb, (arguments, expected) in AS_WORKER.items():
                words = [each.format(ann=key, bob=bob.pk) for each in arguments]
                said, code = ask(*words)
                assert code == expected, (verb, said)
                if verb == "receipt":
                    assert "verified" in said
                if verb == "doctor":
                    assert "42501" not in said, said
                    assert "cannot be read" not in said, said
            assert not Cascade.objects.exclude(state__in=["done", "verified"]).exists()
        assert {*AS_WORKER} | FOR_THE_OWNER == {*VERBS}
        assert not Post.objects.exclude(author_id=bob.pk).exists()
        assert not Comment.objects.filter(author_id=key).exists()

    def test_replay_as_the_worker(self, log_in: LogIn, ann: User, tune: Tune) -> None:
        tune(grace_seconds=0.001)
        ann.delete()
        drain = ("drain", "--verify", "--timeout", "60")
        with log_in("worker"):
            assert ask(*drain)[1] == 0
            everything = ("--database", "blog_db", "--since", "2000-01-01T00:00")
            assert ask("replay", *everything)[1] == FINDINGS
            assert ask("replay", *everything, "--apply")[1] == 0
            assert Cascade.objects.get(database="blog_db").state == "pending"
            assert ask(*drain)[1] == 0
        assert Cascade.objects.get(database="blog_db").state == "verified"

    def test_purge_as_the_worker(self, log_in: LogIn, ann: User, tune: Tune) -> None:
        from apps.integrity.queues import maintenance

        tune(grace_seconds=0.001, retention_days=1e-9)
        ann.delete()
        with log_in("worker"):
            assert ask("drain", "--verify", "--timeout", "60")[1] == 0
            maintenance.maintain("default")
        assert not Deletion.objects.exists()

    @pytest.mark.parametrize(
        ("arguments", "act"),
        [
            (["rename", "gone_db", "blog_db", "--alias", "--apply"], "UPDATE integrity_cascade"),
            (["rename", "old.User", "auth.User", "--apply"], "UPDATE integrity_deletion"),
        ],
    )
    def test_what_is_the_owners_names_the_right_and_the_remedy(
        self, log_in: LogIn, arguments: list[str], act: str
    ) -> None:
        log_rows.make("old.User", ["1"], ["gone_db"])
        with log_in("worker"), pytest.raises(CommandError) as refused:
            call_command("integrity", *arguments, stdout=io.StringIO(), stderr=io.StringIO())
        said = str(refused.value)
        assert f"may not {act}" in said
        assert "'default'" in said
        assert "need the owner of the tables" in said
        assert refused.value.returncode == 1

    def test_install_triggers_is_refused_in_words(self, log_in: LogIn, tune: Tune) -> None:
        tune(capture={"auth.User": "trigger"})
        with log_in("worker"), pytest.raises(CommandError) as refused:
            call_command(
                "integrity", "install-triggers", stdout=io.StringIO(), stderr=io.StringIO()
            )
        assert "owner" in str(refused.value) or "superuser" in str(refused.value)

    def test_a_web_role_at_the_command_line_is_told_what_it_lacks(self, log_in: LogIn) -> None:
        with log_in("web"), pytest.raises(CommandError) as refused:
            call_command("integrity", "status", stdout=io.StringIO(), stderr=io.StringIO())
        assert "may not SELECT" in str(refused.value)
        assert "--dashboard" in str(refused.value)


PAGES = ("changelist", "deletions", "relations", "scans", "audit")


class TestThePages:
    def test_the_site_shows_them_and_presses_their_buttons(
        self, log_in: LogIn, ann: User, tune: Tune, settings: Settings
    ) -> None:
        tune(grace_seconds=0.001, brake_keys=100)
        staff = User.objects.create_superuser("root", password="pw")
        client = Client()
        client.force_login(staff)
        Post.objects.create(title="orphan", content="c", author_id=9_999)
        stuck, beside = log_rows.make("auth.User", ["77", "78"], ["shop_db"], state="blocked")
        kept, seen = log_rows.make("auth.User", ["87", "88"], ["shop_db"], state="kept")
        rows = {str(row.pk): {"shop.Order.customer": 1} for row in (kept, seen)}
        Cascade.objects.filter(batch=kept.batch).update(kept=rows, kept_at=ServerNow())
        with log_in("site"):
            confirm = client.get(reverse("admin:auth_user_delete", args=[ann.pk]))
            assert confirm.status_code == 200
            assert "42501" not in confirm.content.decode()
            gone = client.post(reverse("admin:auth_user_delete", args=[ann.pk]), {"post": "yes"})
            assert gone.status_code == 302
            for page in PAGES:
                shown = client.get(reverse(f"admin:integrity_dashboard_{page}"))
                assert shown.status_code == 200, page
                assert "42501" not in shown.content.decode(), page
            self._press(client, "pause", database="shop_db", reason="a look")
            self._press(client, "resume", database="shop_db", reason="over")
            self._press(client, "retry_deletion", "default", str(stuck.pk))
            assert log_rows.in_database(stuck, "shop_db").state == "pending"
            assert log_rows.in_database(beside, "shop_db").is_blocked
            self._press(client, "retry", database="shop_db", reason="once more")
            assert log_rows.in_database(beside, "shop_db").state == "pending"
            self._press(client, "acknowledge", "default", str(seen.pk))
            assert log_rows.in_database(kept, "shop_db").is_unacknowledged
            assert not log_rows.in_database(seen, "shop_db").is_unacknowledged
            log_rows.check_partitions()
            self._press(client, "scan", relation="blog.Post.author", database="blog_db")
            assert client.get("/integrity/healthz").status_code in {200, 503}
            assert client.get("/integrity/metrics").status_code == 200
        assert set(Audit.objects.values_list("verb", flat=True)) == {
            "pause", "resume", "retry", "acknowledge", "scan",
        }  # fmt: skip
        assert Suspect.objects.get().relation == "blog.Post.author"

    def _press(self, client: Client, button: str, *of: str, **fields: str) -> None:
        address = reverse(f"admin:integrity_dashboard_{button}", args=of)
        pressed = client.post(address, fields, follow=True)
        assert pressed.status_code == 200, button
        said = [str(each) for each in pressed.context["messages"]]
        assert said, button
        assert not any("denied" in each or "42501" in each for each in said), (button, said)

    def test_repair_as_the_site(self, log_in: LogIn, ann: User, tune: Tune) -> None:
        from apps.integrity import relations, scan
        from apps.integrity.scan import repair

        tune(grace_seconds=0.001, brake_keys=100)
        Post.objects.create(title="orphan", content="c", author_id=9_999)
        with log_in("dashboard"):
            scan.scan("blog_db", labels=["blog.Post.author"], seconds=60)
            [done] = repair.repair([relations.catalogue().relation("blog.Post.author")])
        assert len(done.confirmed) == 1
        assert Post.objects.filter(author_id=9_999).exists()  # workers remove it


def test_beat_keeps_its_timetable_and_nothing_else(log_in: LogIn) -> None:
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    with log_in("beat"):
        every, _ = IntervalSchedule.objects.get_or_create(every=7, period="seconds")
        task, _ = PeriodicTask.objects.update_or_create(
            name="mine", defaults={"task": "integrity.maintain", "interval": every}
        )
        task.total_run_count = 3
        task.save()
    assert PeriodicTask.objects.get(name="mine").total_run_count == 3


def test_what_is_printed_as_json_is_what_is_granted() -> None:
    out = io.StringIO()
    call_command("integrity", "grants", "r", "--web", "--dashboard", "--json", stdout=out)
    found = {each["database"]: each["statements"] for each in json.loads(out.getvalue())["grants"]}
    for alias in roles.on_postgresql():
        assert found[alias] == [*roles.granted(alias, "r", *(roles.KINDS["site"] or ()))]
