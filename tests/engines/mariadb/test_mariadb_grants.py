"""The role of docs/how-to/mysql.md can do what a worker does in a child's database, and no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import MySQLdb
import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connections

from apps.blog.models import Comment, Post
from apps.integrity import cascade, scan
from apps.integrity.cascade import verification
from apps.integrity.checks import doctor
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from tests import snippets
from tests.engines.servers.mariadb import ADMIN, LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Tune
    from tests.engines.servers.mariadb import MariaDB

pytestmark = pytest.mark.usefixtures("committed")

PAGE = snippets.ROOT / "docs" / "how-to" / "mysql.md"


@pytest.fixture
def worker(mariadb: MariaDB, layout: Any) -> Iterator[None]:
    """Log in to blog_db as the page's worker."""
    if "blog_db" not in layout.mariadb:
        pytest.skip("the children are in PostgreSQL")
    given = connections["blog_db"].settings_dict
    (block,) = snippets.blocks(PAGE, "sql")
    admin = MySQLdb.connect(
        host=LOOPBACK, port=mariadb.port, user=ADMIN, password=mariadb.passwords[ADMIN]
    )
    admin.autocommit(True)  # noqa: FBT003
    cursor = admin.cursor()
    try:
        text = re.sub(r"\bblog\.", f"{given['NAME']}.", block.text)
        for statement in filter(str.strip, text.split(";")):
            cursor.execute(statement)
        connections["blog_db"].close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(given, "USER", "worker")
            patch.setitem(given, "PASSWORD", "change me")
            yield
        connections["blog_db"].close()
    finally:
        cursor.execute("DROP USER IF EXISTS 'worker'@'%'")
        admin.close()


def test_cascade_verification_and_scan(worker: None, tune: Tune) -> None:
    tune(grace_seconds=1e-6)
    ann, bob, lost = (User.objects.create(username=name) for name in ("ann", "bob", "lost"))
    with pytest.raises(DatabaseError, match="1142"):
        Post.objects.create(title="t", content="c", author=ann)
    _as_owner(ann, bob, lost)
    ann.delete()
    User.objects.filter(pk=lost.pk)._raw_delete("default")
    dispatch.sweep("default")
    assert cascade.drain("blog_db").rows == {"blog.Post.author": 1, "blog.Comment.author": 1}
    assert verification.verify("blog_db").verified == 1
    assert Cascade.objects.get(database="blog_db").state == "verified"
    (scanned,), unreachable = scan.scan("blog_db", labels=["blog.Post.author"])
    assert (scanned.suspects, scanned.reason, unreachable) == (1, "", "")
    refused = [each.detail for each in doctor.examine(None) if "denied" in each.detail]
    assert refused == []


def _as_owner(*authors: User) -> None:
    """Write what the worker may not: a post of each, with a comment of each."""
    owner = connections["shop_db"]
    name = connections["blog_db"].settings_dict["NAME"]
    with owner.cursor() as cursor:
        for author in authors:
            cursor.execute(
                f"INSERT INTO {name}.blog_post (title, content, author_id, created_at)"  # noqa: S608
                " VALUES ('t', '', %s, '2026-01-01')",
                [author.pk],
            )
        cursor.execute(
            f"INSERT INTO {name}.blog_comment (content, author_id, post_id, created_at)"  # noqa: S608
            f" SELECT '', %s, max(id), '2026-01-01' FROM {name}.blog_post",
            [authors[0].pk],
        )
    assert Comment.objects.count() == 1
