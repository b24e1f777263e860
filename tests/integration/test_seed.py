"""The guide "Cross-Database Relations", block by block: what runs as printed, and what instead.

`tests/seed` holds the document; `docs/explanation/the-seed.md` tells of what is found out here.
"""

from __future__ import annotations

import ast
import re
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import ProgrammingError, connections, models, transaction
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.test import Client
from django.test.utils import isolate_apps, override_settings
from django.urls import path

from apps.blog.models import Comment, Post
from apps.integrity import relations
from apps.shop.models import Category, Order
from tests import snippets

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from pytest_django import Settings

    from tests.conftest import Captured, Tune
    from tests.snippets import Block

pytestmark = pytest.mark.usefixtures("committed")

SEED = snippets.ROOT / "tests" / "seed" / "cross-database-relations.md"
PAGE = snippets.ROOT / "docs" / "explanation" / "the-seed.md"
MISSING = 987_654
NO_USERS_THERE = 'relation "auth_user" does not exist'

BLOCKS = snippets.blocks(SEED)


def seed(heading: str, position: int = 0) -> Block:
    """A block under that heading."""
    return [each for each in BLOCKS if each.heading == heading][position]


def play(block: Block, **names: Any) -> dict[str, Any]:
    """What the block defines, run as printed, with what the document says is there already."""
    found = {"__name__": "seed", **names}
    snippets.run(block, found)
    return found


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    cache.clear()
    with snippets.undone():
        yield
    cache.clear()


def write(pk: int, posts: int = 1) -> User:
    user = User.objects.create(pk=pk, username=f"user {pk}", email="old@example.org")
    for n in range(posts):
        post = Post.objects.create(pk=10 * pk + n, title="t", content="c", author=user)
        Comment.objects.create(pk=10 * pk + n, post=post, author=user, content="c")
    Order.objects.create(pk=pk, order_number=f"{pk}", customer=user, total=1)
    return user


def left() -> tuple[int, ...]:
    return tuple(each.objects.count() for each in (User, Post, Comment, Order))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give those relations back to Django, as if this app were not installed."""

    def without_us(*labels: str) -> None:
        for each in map(relations.catalogue().relation, labels):
            monkeypatch.setattr(each.field.remote_field, "on_delete", each.on_delete)

    return without_us


# The problem, the solution, how it works


def table_of(block: Block, **names: Any) -> type[models.Model]:
    """The block's Post, under a name of a table that is free."""
    with isolate_apps("apps.blog"):
        model = play(block, __name__="apps.blog.models", models=models, **names)["Post"]
    model._meta.db_table = "seed_post"
    return model


def make_table(model: type[models.Model]) -> None:
    with connections["blog_db"].schema_editor() as editor:
        editor.create_model(model)
        for statement in editor.deferred_sql:
            editor.execute(statement)
        editor.deferred_sql.clear()


def test_without_the_flag_the_table_cannot_be_made() -> None:
    error = seed("Without db_constraint=False", 1).text
    assert NO_USERS_THERE in error
    model = table_of(seed("Without db_constraint=False", 0), User=User)
    with pytest.raises(ProgrammingError, match=NO_USERS_THERE):
        make_table(model)


def test_with_the_flag_it_can() -> None:
    model = table_of(seed("The Solution: db_constraint=False"))
    make_table(model)
    with connections["blog_db"].schema_editor() as editor:
        editor.delete_model(model)


def test_the_accessors_ask_the_right_database(captured: Captured) -> None:
    user = write(1)
    Post.objects.create(pk=1, title="t", content="c", author=user)
    with captured:
        found = play(seed("Django Handles It"), Post=Post, User=User)
        assert found["author"] == user
        assert found["posts"].count() == 2
    assert (len(captured["default"]), len(captured["blog_db"])) == (2, 2)


def test_the_orm_validates_forms_and_not_saves() -> None:
    post = Post.objects.create(title="t", content="c", author_id=MISSING)
    with pytest.raises(ValidationError, match="user instance with id 987654 is not a valid choice"):
        post.full_clean()


# The complete examples


@pytest.mark.parametrize(
    ("heading", "module", "added"),
    [
        ("Blog App", "apps/blog/models.py", set()),
        ("Shop App", "apps/shop/models.py", {"Category"}),
    ],
)
def test_the_sample_apps_have_these_models_unmodified(
    heading: str, module: str, added: set[str]
) -> None:
    printed = classes(seed(heading).text)
    ours = classes((snippets.ROOT / module).read_text())
    assert {name: ours[name] for name in printed} == printed
    assert set(ours) - set(printed) == added


def classes(source: str) -> dict[str, str | None]:
    found = [each for each in ast.parse(source).body if isinstance(each, ast.ClassDef)]
    return {each.name: ast.get_source_segment(source, each) for each in found}


def test_the_shop_as_printed_lacks_its_category() -> None:
    with isolate_apps("apps.shop"):
        product = play(seed("Shop App"), __name__="apps.shop.models")["Product"]
        assert [each.id for each in product.check()] == ["fields.E300"]
    assert Category._meta.label == "shop.Category"


# Usage


def test_creating_objects_lacks_an_import() -> None:
    with pytest.raises(NameError, match="Decimal"):
        play(seed("Creating Objects"))


def test_creating_objects_with_it() -> None:
    made = play(snippets.with_line(seed("Creating Objects"), "from decimal import Decimal"))
    homes = [made[name]._state.db for name in ("user", "post", "order")]
    assert homes == ["default", "blog_db", "shop_db"]


def test_accessing_relationships(captured: Captured, capsys: pytest.CaptureFixture[str]) -> None:
    Post.objects.create(pk=1, title="t", content="c", author=write(1, posts=2))
    with captured:
        found = play(seed("Accessing Relationships"), Post=Post, User=User)
        assert (len(found["posts"]), len(found["orders"])) == (3, 1)
    assert capsys.readouterr().out == "user 1\n"
    assert [len(captured[alias]) for alias in ("default", "blog_db", "shop_db")] == [2, 2, 1]


# Integrity 1: signals


def test_with_the_printed_models_no_user_can_be_deleted(plain: Callable[..., None]) -> None:
    plain("blog.Post.author", "blog.Comment.author", "shop.Order.customer")
    receivers = play(seed("1. Django Signals for Cascade Deletes"))
    user = write(1)
    for victim in (user, User.objects.create(username="without content")):
        with pytest.raises(ProgrammingError, match=r'relation "(blog|shop)_.*" does not exist'):
            victim.delete()
    assert left() == (2, 1, 1, 1), receivers


def test_with_orders_alone_the_user_stays_and_their_content_is_gone(
    plain: Callable[..., None],
) -> None:
    plain("shop.Order.customer")
    receivers = play(seed("1. Django Signals for Cascade Deletes"))
    user = write(1)
    with pytest.raises(ProgrammingError, match='relation "shop_order" does not exist'):
        user.delete()
    assert left() == (1, 0, 0, 0), receivers


def test_a_rollback_brings_the_user_back_and_not_what_a_handler_deleted() -> None:
    receivers = play(seed("1. Django Signals for Cascade Deletes"))
    user = write(1)
    with transaction.atomic():
        user.delete()
        transaction.set_rollback(True)
    assert left() == (1, 0, 0, 0), receivers


def test_without_a_handler_the_delete_is_recorded_or_does_not_happen(
    converge: Callable[[], Counter[str]],
) -> None:
    user = write(1)
    with transaction.atomic():
        user.delete()
        transaction.set_rollback(True)
    converge()
    assert left() == (1, 1, 1, 1)
    User.objects.get(pk=1).delete()
    assert left() == (0, 1, 1, 1)
    converge()
    assert left() == (0, 0, 0, 0)


def test_the_app_config_lacks_an_import() -> None:
    with pytest.raises(NameError, match="AppConfig"):
        play(seed("1. Django Signals for Cascade Deletes", 1))


# Integrity 2: the cleanup job


def clean_up() -> str:
    command = play(seed("2. Periodic Cleanup Job"))["Command"](stdout=StringIO(), no_color=True)
    command.handle()
    return str(command.stdout._out.getvalue())


def orphan(pk: int) -> None:
    Post.objects.create(pk=pk, title="t", content="c", author_id=MISSING)


def test_the_cleanup_works_when_nobody_else_does() -> None:
    write(1)
    orphan(99)
    assert clean_up() == "Deleted 1 orphaned posts\nDeleted 0 orphaned comments\n"
    assert left() == (1, 1, 1, 1)


def test_the_cleanup_deletes_posts_of_users_who_came_while_it_ran() -> None:
    write(1)

    def meanwhile(execute: Any, sql: str, *rest: Any) -> Any:
        result = execute(sql, *rest)
        if 'FROM "auth_user"' in sql and not User.objects.filter(pk=2).exists():
            write(2)
        return result

    with connections["default"].execute_wrapper(once(meanwhile)):
        assert clean_up() == "Deleted 1 orphaned posts\nDeleted 0 orphaned comments\n"
    assert left() == (2, 1, 1, 2)


def once(wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """Its own queries pass."""
    seen: list[str] = []

    def first(execute: Any, sql: str, *rest: Any) -> Any:
        if seen:
            return execute(sql, *rest)
        seen.append(sql)
        return wrapper(execute, sql, *rest)

    return first


def test_the_cleanup_deletes_everything_when_it_sees_no_user(tune: Tune) -> None:
    for pk in (1, 2):
        write(pk)
    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM auth_user")
    tune(grace_seconds=0.01)
    with pytest.raises(SystemExit) as refused:
        call_command("cleanup_orphaned", apply=True)
    assert refused.value.code == 6
    assert left() == (0, 2, 2, 2)
    clean_up()
    assert left() == (0, 0, 0, 2)


def test_cleanup_orphaned_removes_what_is_orphaned_in_every_app(tune: Tune) -> None:
    tune(grace_seconds=0.01)
    write(1)
    orphan(99)
    Order.objects.create(order_number="orphan", customer_id=MISSING, total=1)
    call_command("cleanup_orphaned", apply=True)
    assert left() == (1, 1, 1, 1)


# Integrity 3: validation


@pytest.fixture
def view(settings: Settings) -> Callable[[object], int]:
    """The printed view behind an address: what it answers to an author."""
    urls = ModuleType("urls")
    printed = play(seed("3. Application-Level Validation"), User=User, Post=Post)["create_post"]
    urls.urlpatterns = [path("create/", printed)]  # type: ignore[attr-defined]
    settings.ROOT_URLCONF = urls
    client = Client(raise_request_exception=False)

    def post(author: object) -> int:
        data = {"author_id": author, "title": "t", "content": "c"}
        return client.post("/create/", data).status_code

    return post


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_the_printed_view_answers_500_to_everything(view: Callable[[object], int]) -> None:
    write(1, posts=0)
    assert [view(author) for author in (MISSING, "abc", 1)] == [500, 500, 500]
    assert Post.objects.count() == 1  # the valid one was saved all the same


def test_the_sample_view_answers_400_to_a_missing_author(client: Client) -> None:
    client.force_login(User.objects.create(username="ann"))
    data = {"author_id": MISSING, "title": "t", "content": "c"}
    assert client.post("/blog/posts/create/", data).status_code == 400


# Integrity 4: constraints


def test_the_database_does_not_cascade_inside_itself_either() -> None:
    block = seed("4. Database Constraints (When Possible)")
    assert "on_delete=models.CASCADE,  # Database enforces this" in block.text
    with isolate_apps("apps.blog"):
        play(block, __name__="apps.blog.models", models=models, Post=Post)
    with connections["blog_db"].cursor() as cursor:
        cursor.execute(
            "SELECT confdeltype::text FROM pg_constraint"
            " WHERE conrelid = 'blog_comment'::regclass AND contype = 'f'"
        )
        assert cursor.fetchall() == [("a",)]  # NO ACTION


# Performance


def test_each_author_is_a_query(captured: Captured) -> None:
    for pk in (1, 2, 3):
        write(pk)
    with captured:
        play(seed("N+1 Query Problem Across Databases"), Post=Post)
    assert (len(captured["blog_db"]), len(captured["default"])) == (1, 3)


def test_the_manual_prefetch_is_not_what_post_author_reads(captured: Captured) -> None:
    for pk in (1, 2):
        write(pk)
    found = play(seed("N+1 Query Problem Across Databases", 1), Post=Post, User=User)
    with captured:
        assert [post.author.pk for post in found["posts"]] == [1, 2]
    assert len(captured["default"]) == 2
    orphan(99)
    with pytest.raises(KeyError, match=str(MISSING)):
        play(seed("N+1 Query Problem Across Databases", 1), Post=Post, User=User)


def test_prefetch_related_is(captured: Captured) -> None:
    for pk in (1, 2):
        write(pk)
    with captured:
        assert [post.author.pk for post in Post.objects.prefetch_related("author")] == [1, 2]
    assert (len(captured["blog_db"]), len(captured["default"])) == (1, 1)


def test_select_related_raises() -> None:
    posts = play(seed("select_related Doesn't Work"), Post=Post)["posts"]
    with pytest.raises(ProgrammingError, match=NO_USERS_THERE):
        list(posts)


@pytest.fixture
def ghost(committed: None) -> Iterator[None]:
    """A copy of the users' table in blog_db, without a row, as `migrate` without a router makes."""
    connection = connections["blog_db"]
    columns = ", ".join(f'"{each.column}" {each.db_type(connection)}' for each in User._meta.fields)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE auth_user ({columns})")
        yield
        cursor.execute("DROP TABLE auth_user")


@pytest.mark.usefixtures("ghost")
def test_beside_a_forgotten_table_of_users_no_post_is_found_and_all_are_orphans(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(1)
    assert list(play(seed("select_related Doesn't Work"), Post=Post)["posts"]) == []
    play(seed("Orphaned Records"))
    assert capsys.readouterr().out == "Orphaned posts: 1\n"
    assert [post.author.pk for post in Post.objects.prefetch_related("author")] == [1]
    call_command("integrity", "scan", "--relation", "blog.Post.author", "--full")


def test_the_cached_author_is_old_and_carries_the_password() -> None:
    user = write(1)
    user.set_password("secret")
    user.save()
    cached = play(seed("Cache Cross-Database Lookups"), Post=Post)["get_post_with_author"]
    assert cached(10) == user
    User.objects.filter(pk=1).update(email="new@example.org")
    assert cached(10).email == "old@example.org"
    assert cached(10).password == user.password
    user.delete()
    assert cached(10) is not None


# When it is required, the migration


def test_which_keys_need_the_flag() -> None:
    with pytest.raises(TypeError, match="on_delete must be callable"):
        play(seed("Required"), models=models, User=User)
    play(seed("NOT Required"), models=models, Post=Post)
    play(seed("NOT Required", 1), models=models, User=User)
    crossing = {each.label for each in relations.catalogue().relations}
    assert {"blog.Post.author", "blog.Comment.author", "shop.Order.customer"} <= crossing
    assert not {"blog.Comment.post", "admin.LogEntry.user", "shop.Product.category"} & crossing


def test_the_printed_migration_is_ours_as_far_as_it_goes() -> None:
    printed = fields(play(seed("Migration Example"))["Migration"])
    ours = fields(import_module("apps.blog.migrations.0001_initial").Migration)
    shared = ("title", "content", "author")
    assert {name: printed[name] for name in shared} == {name: ours[name] for name in shared}
    assert ours.keys() - printed.keys() == {"created_at"}


def fields(migration: Any) -> dict[str, Any]:
    operation = migration.operations[0]
    assert operation.name == "Post"
    return {name: field.deconstruct()[1:] for name, field in operation.fields}


def test_the_printed_migration_is_not_that_of_the_printed_models() -> None:
    with override_settings(MIGRATION_MODULES={}):  # with the history of `auth`
        loader = MigrationLoader(None)
    state = loader.project_state([("auth", "0012_alter_user_first_name_max_length")])
    for operation in play(seed("Migration Example"))["Migration"].operations:
        operation.state_forwards("blog", state)
    wanted = ProjectState.from_apps(apps)
    found = MigrationAutodetector(state, wanted)._detect_changes()["blog"]
    names = sorted(type(each).__name__ for each in found[0].operations)
    assert names == ["AddField", "AlterField", "AlterModelTable", "CreateModel"]
    call_command("makemigrations", "blog", "shop", check=True, dry_run=True, verbosity=0)


# Troubleshooting


def test_the_remedy_is_a_field_that_needs_no_constraint() -> None:
    block = seed('Error: relation "auth_user" does not exist')
    assert play(block, models=models, User=User)["author"].db_constraint is False


def test_the_search_for_orphans_asks_the_wrong_database(capsys: pytest.CaptureFixture[str]) -> None:
    write(1)
    orphan(99)
    with pytest.raises(ProgrammingError, match=NO_USERS_THERE):
        play(seed("Orphaned Records"))
    with pytest.raises(SystemExit) as found:
        call_command("integrity", "scan", "--relation", "blog.Post.author", "--full")
    assert found.value.code == 3
    assert re.search(r"blog\.Post\.author +blog_db .* 1 ", capsys.readouterr().out)


# The document and its page


def test_each_block_of_the_document_is_played_here() -> None:
    source = Path(__file__).read_text()
    calls = re.findall(r"""seed\((["'])(.+?)\1(?:, (\d))?\)""", source)
    played = {(heading, int(position or 0)) for _, heading, position in calls}
    played |= {("Blog App", 0), ("Shop App", 0)}
    seen: dict[str, int] = {}
    for block in BLOCKS:
        at = seen[block.heading] = seen.get(block.heading, -1) + 1
        assert (block.heading, at) in played, block.place


def test_the_page_quotes_the_document_and_names_tests_that_exist() -> None:
    document = " ".join(SEED.read_text().split())
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| “")]
    assert len(rows) > 25
    for row in rows:
        sentence = re.match(r"\| “(.+?)”", row)
        assert sentence, row
        assert " ".join(sentence[1].split()) in document, row
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert all(name in globals() for name in named), row
