"""Databases stop, and rows are locked by somebody else."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

from django.db import Error, connections

from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Deletion
from apps.integrity.report import backlog, status
from tests import superuser

from ..stage import Broken, insist, now
from .act import Act, proves
from .company import Company

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from ..stage import Stage

#: Deadlocks are a race: so often it is tried.
TRIES = 5


@proves("child-down-c", "child-down-d", "child-down-e", "child-down-g")
def child_down(stage: Stage) -> None:
    server = stage.postgres["shop_db"]

    def start() -> None:
        server.start().wait_until_ready()

    _waits_alone(stage, "child-down", server.stop, start, "cannot be reached: ")


@proves(*(f"child-read-only-{moment}" for moment in "cdeg"))
def child_read_only(stage: Stage) -> None:
    words = "cannot be worked on: it is read-only"
    _waits_alone(
        stage, "child-read-only", lambda: _read_only("on"), lambda: _read_only("off"), words
    )


def _read_only(value: str) -> None:
    """As before and after a failover; whoever is connected is thrown out."""
    name = connections["shop_db"].ops.quote_name(connections["shop_db"].settings_dict["NAME"])
    superuser.run(
        "shop_db",
        "SET default_transaction_read_only = off",
        f"ALTER DATABASE {name} SET default_transaction_read_only = {value}",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def _waits_alone(
    stage: Stage, fault: str, begin: Callable[[], Any], end: Callable[[], Any], words: str
) -> None:
    """A child database takes no work, at three moments of three deletions, and is well again."""
    removing, received, queued = stage.take(2), stage.take(), stage.take()
    everybody = [*removing, *received, *queued]
    held = stage.traps.arm("shop_db", Failpoint.REMOVED, "wait")
    stage.delete(removing)
    stage.until(lambda: held.sprung, "a cascade held at e")
    message = stage.traps.arm("shop_db", Failpoint.RECEIVED, "wait")
    stage.delete(received)
    stage.until(lambda: message.sprung, "a message held at d")
    begin()
    held.release()
    message.release()
    stage.delete(queued)
    stage.until(
        lambda: all(stage.cascade(user, "blog_db").done_at for user in everybody),
        "the other child database is done meanwhile",
        seconds=15,
    )
    # A session that was thrown out may tell its own reason first; the next probe tells this one.
    stage.until(
        lambda: (shop := _shop())["unreachable"] and shop["reason"].startswith(words),
        f"status says that it {words}",
        seconds=15,
    )
    stage.until(
        lambda: all(stage.cascade(user, "shop_db").attempts == 0 for user in everybody),
        "no attempt is burnt",
        about=everybody,
    )
    end()
    back = now()
    connections["shop_db"].close()
    stage.cascaded(f"{fault}-c", queued, back)
    stage.cascaded(f"{fault}-d", received, back)
    stage.cascaded(f"{fault}-e", removing, back)
    insist(not _shop()["unreachable"], "status still says so")
    stage.prove(f"{fault}-g")
    for user in everybody:
        cascade = stage.cascade(user, "shop_db")
        insist(cascade.attempts == 1, f"{cascade.attempts} attempts")
    stage.insist_counted(everybody)


def _shop() -> backlog.DatabaseRow:
    return next(row for row in status.collect_status()["databases"] if row["database"] == "shop_db")


@proves(*(f"default-down-{moment}" for moment in "acdefg"))
def default_down(stage: Stage) -> None:
    held, refused, idle = Company.gather(stage), stage.take(), stage.take()
    server = stage.postgres["default"]
    server.stop()
    try:
        stage.delete(refused)
    except Error:
        connections.close_all()
    else:
        raise Broken("a delete succeeded without its database")
    held.release()
    stage.until(lambda: not stage.unacknowledged() and not stage.queued(), "all tasks have ended")
    server.start().wait_until_ready()

    back = now()
    insist(not Deletion.objects.filter(key=str(refused[0])), "a row in the log")
    stage.prove("default-down-a")
    stage.delete(idle)
    stage.cascaded("default-down-c", held.queued, back)
    stage.cascaded("default-down-d", held.received, back)
    stage.cascaded("default-down-g", idle, back)
    stage.cascaded("default-down-e", held.working, back)
    held.insist_removed_once(by_the_dead=True)
    stage.cascaded("default-down-f", held.working, back)
    held.insist_kept()


@proves("deadlock-e")
def deadlock(stage: Stage) -> None:
    for _ in range(TRIES):
        before = _deadlocks(stage)
        users = stage.take(3)
        freed = _entangle(stage, users)
        stage.until(
            lambda: stage.cascade(users[0], "blog_db").done_at,  # noqa: B023
            "the one who was in the way is done",
            seconds=10,
        )
        if _deadlocks(stage) > before:
            stage.cascaded("deadlock-e", users, freed)
            for user in users:
                attempts = stage.cascade(user, "blog_db").attempts
                insist(attempts == 1, f"{attempts} attempts")
            return
    raise Broken("no deadlock happened: nothing is proven")


def _entangle(stage: Stage, users: list[int]) -> Any:
    """Hold a comment that the cascade wants, then want the post that the cascade holds."""
    with closing(superuser.session("blog_db", autocommit=False)) as session:
        # Only the cascade looks for deadlocks, so it is the one to be cancelled.
        session.execute("SET deadlock_timeout = '60s'")
        ((comment, post),) = session.execute(
            "SELECT comment.id, post.id FROM blog_comment AS comment JOIN blog_post AS post"
            " ON post.id = comment.post_id WHERE post.author_id = %s"
            " AND comment.author_id <> post.author_id LIMIT 1 FOR UPDATE OF comment",
            [users[0]],
        ).fetchall()
        insist(comment, "nothing to lock")
        stage.delete(users)
        stage.until(lambda: _waiting(stage, "blog_db"), "the cascade waits for the comment")
        wants = threading.Thread(target=_lock_post, args=(session, post))
        wants.start()
        wants.join(30)
        stage.until(
            lambda: all(stage.cascade(user, "blog_db").done_at for user in users[1:]),
            "its company is done",
        )
        session.rollback()
        return now()


def _lock_post(session: Connection[Any], post: int) -> None:
    session.execute("SELECT 1 FROM blog_post WHERE id = %s FOR UPDATE", [post])


def _deadlocks(stage: Stage) -> int:
    with closing(stage.session("blog_db")) as session:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(session.execute(query).fetchall()[0][0])


def _waiting(stage: Stage, alias: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchall()[0][0])


@proves("lock-timeout-e")
def locked_row(stage: Stage) -> None:
    users = stage.take(3)
    with closing(stage.session("blog_db")) as session:
        session.execute("SELECT 1 FROM blog_comment WHERE author_id = %s FOR UPDATE", [users[0]])
        stage.delete(users)
        others = users[1:]
        stage.until(
            lambda: all(stage.cascade(user, "blog_db").done_at for user in others),
            "its company is done while the row is locked",
        )
        waiting = stage.cascade(users[0], "blog_db")
        insist(not waiting.done_at, "done although its row is locked")
        session.rollback()
        freed = now()
    stage.cascaded("lock-timeout-e", users, freed)
    for user in users:
        insist(stage.cascade(user, "blog_db").attempts == 1, "an attempt was burnt")


@proves("lock-timeout-f")
def locked_log(stage: Stage) -> None:
    users = stage.take()
    removed = stage.traps.arm("shop_db", Failpoint.REMOVAL_COMMITTED, "wait")
    stage.delete(users)
    stage.until(lambda: removed.sprung, "a cascade held before it marks the log")
    with closing(stage.session("default")) as session:
        session.execute(
            "SELECT 1 FROM integrity_cascade WHERE id = %s FOR UPDATE",
            [stage.held(users[0], "shop_db").pk],
        )
        removed.release()
        stage.until(lambda: _waiting(stage, "default"), "the cascade waits for its row of the log")
        stage.until(lambda: not stage.unacknowledged(), "the task has given up")
        session.rollback()
        freed = now()
    stage.cascaded("lock-timeout-f", users, freed)
    stage.insist_counted(users)


ACTS: tuple[Act, ...] = (
    child_down,
    child_read_only,
    default_down,
    deadlock,
    locked_row,
    locked_log,
)
