"""Web processes die, beat is dead or doubled, keys come back and rows come late."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.test.utils import override_settings

from apps.blog.models import Post
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Deletion
from apps.integrity.report import status
from sandbox import project
from tests import superuser

from ..stage import insist, now
from .act import Act, proves

if TYPE_CHECKING:
    from ..stage import Program, Stage
    from ..traps import Trap

#: A sign of life that is older than two ticks of `integrity.maintain` is an alert.
STALE_SECONDS = 5.0


@proves("beat-dead-b", "beat-dead-g")
def beat_dead(stage: Stage) -> None:
    if stage.beat.running:
        stage.beat.kill()
    users = stage.take()
    with override_settings(INTEGRITY={"wakeups": False}):
        stage.delete(users)
    stage.cascaded("beat-dead-b", users, now())
    stage.until(lambda: not _beat_lives(), "status has no fresh sign of life of beat")
    stage.beat.start()
    stage.until(lambda: "beat: Starting" in stage.beat.said(), "beat starts")
    started = now()
    stage.until(_beat_lives, "status has a sign of life of beat", seconds=15)
    stage.prove("beat-dead-g", (now() - started).total_seconds())


def _beat_lives() -> bool:
    pulse = status.collect_status()["beat"]
    return pulse is not None and pulse["seconds_ago"] < STALE_SECONDS


@proves("beat-doubled-g")
def beat_doubled(stage: Stage) -> None:
    second = stage.program("beat-2", *project.beat())
    second.start()
    for beat in (stage.beat, second):
        stage.until(lambda: _ticks(beat) >= 1, "both beats tick", seconds=20)  # noqa: B023
    users, ticks = stage.take(3), [_ticks(stage.beat), _ticks(second)]
    deleted = now()
    stage.delete(users)
    stage.cascaded("beat-doubled-g", users, deleted)
    stage.until(
        lambda: _ticks(stage.beat) > ticks[0] and _ticks(second) > ticks[1],
        "both beats have ticked since",
        seconds=10,
    )
    second.kill()
    for user in users:
        for alias in ("blog_db", "shop_db"):
            attempts = stage.cascade(user, alias).attempts
            insist(attempts == 1, f"{attempts} attempts in {alias}")


def _ticks(beat: Program) -> int:
    return beat.said().count("Sending due task integrity.dispatch")


def _killed_web(stage: Stage, phase: Failpoint) -> list[int]:
    users = stage.take(2)
    trap = stage.traps.arm("web", phase, "die")
    web = stage.program(f"web-{phase.name.lower()}", "web", *map(str, users))
    web.start()
    stage.until(lambda: trap.sprung and not web.running, "the web process killed itself")
    return users


@proves("kill-web-a")
def web_killed_before_commit(stage: Stage) -> None:
    users = _killed_web(stage, Failpoint.RECORDED)
    stage.until(lambda: not _sessions_in_transaction(stage), "the database has noticed", seconds=10)
    insist(User.objects.filter(pk__in=users).count() == len(users), "a user is gone")
    stage.prove("kill-web-a")


def _sessions_in_transaction(stage: Stage) -> int:
    with superuser.session("default") as session:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%'"
        )
        return int(session.execute(query).fetchall()[0][0])


@proves("kill-web-b")
def web_killed_after_commit(stage: Stage) -> None:
    users = _killed_web(stage, Failpoint.COMMITTED)
    stage.truth.gone.update(users)
    stage.cascaded("kill-web-b", users, now())


@proves("reborn-e-claimed")
def reborn_when_claimed(stage: Stage) -> None:
    (user,) = stage.take()
    held = [stage.traps.arm(alias, Failpoint.CLAIMED, "wait") for alias in ("blog_db", "shop_db")]
    stage.delete([user])
    stage.until(lambda: all(trap.sprung for trap in held), "both cascades held at their claim")
    _bear_again(stage, user, spared=True)
    _kept(stage, "reborn-e-claimed", user, held)


@proves("reborn-e-removed")
def reborn_when_removed(stage: Stage) -> None:
    (user,) = stage.take()
    held = stage.traps.arm("blog_db", Failpoint.REMOVED, "wait")
    stage.delete([user])
    stage.until(
        lambda: held.sprung and stage.cascade(user, "shop_db").done_at,
        "a cascade held before its commit, the other one done",
    )
    _bear_again(stage, user, spared=False)
    _kept(stage, "reborn-e-removed", user, [held])


@proves("reborn-g")
def reborn_when_cascaded(stage: Stage) -> None:
    (user,) = stage.take()
    held = [stage.traps.arm(alias, Failpoint.PROBED, "wait") for alias in ("blog_db", "shop_db")]
    stage.delete([user])
    stage.until(lambda: stage.deletion(user).state == Deletion.State.CASCADED, "cascaded")
    for trap in held:
        trap.release()
    _bear_again(stage, user, spared=False)
    _kept(stage, "reborn-g", user, [])


def _bear_again(stage: Stage, user: int, *, spared: bool) -> None:
    """The key is used again, and rows come with it."""
    stage.truth.reborn(user, spared=spared)
    User(pk=user, username=f"user-{user}-again").save(force_insert=True)
    stage.give_rows(user)
    stage.truth.adopt()


def _kept(stage: Stage, cell: str, user: int, held: list[Trap]) -> None:
    born = now()
    for trap in held:
        trap.release()
    stage.until(
        lambda: stage.deletion(user).state == Deletion.State.KEPT,
        "kept",
        about=[user],
    )
    stage.prove(cell, (now() - born).total_seconds())
    insist("taken over" in stage.deletion(user).why, "no reason")


@proves("late-insert-e-committed")
def inserted_between(stage: Stage) -> None:
    users = stage.take()
    held = stage.traps.arm("blog_db", Failpoint.REMOVAL_COMMITTED, "wait")
    stage.delete(users)
    stage.until(lambda: held.sprung, "a cascade held after its first removal")
    _late_post(stage, users[0])
    late = now()
    held.release()
    stage.verified("late-insert-e-committed", users, late)


@proves("late-insert-f")
def inserted_after(stage: Stage) -> None:
    users = stage.take()
    held = stage.traps.arm("blog_db", Failpoint.FINISHED, "wait")
    stage.delete(users)
    stage.until(lambda: held.sprung, "a cascade held after its end")
    _late_post(stage, users[0])
    late = now()
    held.release()
    stage.verified("late-insert-f", users, late)


@proves("late-insert-e-open")
def inserted_in_an_open_transaction(stage: Stage) -> None:
    users = stage.take()
    with closing(stage.session("blog_db")) as session:
        session.execute(
            "INSERT INTO blog_post (title, content, author_id, created_at)"
            " VALUES ('Late', '…', %s, now())",
            users,
        )
        stage.delete(users)
        stage.until(lambda: stage.deletion(users[0]).state == Deletion.State.CASCADED, "cascaded")
        stage.until(
            lambda: stage.cascade(users[0], "shop_db").verified_at,
            "verified where no transaction is open",
            about=users,
        )
        insist(not stage.cascade(users[0], "blog_db").verified_at, "verified too early")
        session.commit()
        late = now()
    stage.truth.adopt()
    stage.verified("late-insert-e-open", users, late)


def _late_post(stage: Stage, user: int) -> None:
    Post.objects.create(title="Late", content="…", author_id=user)
    stage.truth.adopt()


ACTS: tuple[Act, ...] = (
    beat_dead,
    web_killed_before_commit,
    web_killed_after_commit,
    reborn_when_claimed,
    reborn_when_removed,
    reborn_when_cascaded,
    inserted_between,
    inserted_after,
    inserted_in_an_open_transaction,
    beat_doubled,
)
