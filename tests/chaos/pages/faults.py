"""The faults. Each is a block that yields when it took effect, and heals it at its end."""

from __future__ import annotations

import io
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from django.core.management import call_command

from apps.integrity.models import Cascade, Scan
from sandbox.processes import ProcessError
from tests.chaos.faults import people
from tests.chaos.processes import BEAT

from . import GRACE_SECONDS
from .seen import Named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sandbox.servers import PostgreSQL
    from tests.chaos.faults.stage import Stage
    from tests.chaos.processes import Crew

#: Users that are deleted during each fault.
USERS = 5
#: Far more than a fault takes: nobody starts a killed process again before we do.
NEVER_SECONDS = 3_600.0
#: More than the brake lets pass.
MANY = 400
WAIT_SECONDS = 30.0

POISON = """
CREATE OR REPLACE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'this row is not to be deleted' USING ERRCODE = '23514';
END $$"""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the faults act on."""

    stage: Stage
    crew: Crew

    def server(self, alias: str) -> PostgreSQL:
        """The server of one alias."""
        return self.stage.sandbox.postgres[alias]

    def run(self, alias: str, *statements: str) -> None:
        """Each statement in a transaction of its own, as a superuser."""
        with psycopg.connect(self.server(alias).url, autocommit=True) as session:
            for each in statements:
                session.execute(each.encode())


@dataclass(frozen=True, slots=True)
class Effect:
    """When a fault began to hurt, and the users whose deletions it may have hit."""

    at: float
    users: Sequence[int]


@dataclass(frozen=True, slots=True)
class Fault:
    """What the lines have to say, the first of them first, and how it comes about."""

    name: str
    wanted: tuple[Named, ...]
    block: Callable[[Scene], AbstractContextManager[Effect]]


def _deleted(users: Sequence[int]) -> Effect:
    at = time.monotonic()
    people.delete(users)
    return Effect(at, users)


@contextmanager
def refuses(scene: Scene) -> Iterator[Effect]:
    """A child database refuses connections."""
    users = people.born(USERS)
    with scene.server("blog_db").stopped():
        yield _deleted(users)


@contextmanager
def frozen(scene: Scene) -> Iterator[Effect]:
    """A child database accepts connections, and answers nothing."""
    users = people.born(USERS)
    with scene.server("shop_db").frozen():
        yield _deleted(users)


@contextmanager
def poison(scene: Scene) -> Iterator[Effect]:
    """A row that cannot be deleted."""
    users = people.born(USERS)
    scene.run(
        "shop_db",
        POISON,
        f"CREATE TRIGGER poison BEFORE DELETE ON shop_order FOR EACH ROW"
        f" WHEN (OLD.customer_id = {int(users[0])}) EXECUTE FUNCTION poison()",
    )
    try:
        yield _deleted(users)
    finally:
        scene.run("shop_db", "DROP TRIGGER poison ON shop_order")


@contextmanager
def worker(scene: Scene) -> Iterator[Effect]:
    """The only worker of a queue is frozen."""
    users = people.born(USERS)
    with scene.crew.members["shop_db"].frozen():
        yield _deleted(users)


@contextmanager
def control(scene: Scene) -> Iterator[Effect]:
    """The worker of what belongs to no database is frozen: nothing is retried or verified."""
    users = people.born(USERS)
    with scene.crew.members["control"].frozen():
        yield _deleted(users)


@contextmanager
def beat(scene: Scene) -> Iterator[Effect]:
    """Beat is gone: nothing that has to wait is looked at again."""
    users = people.born(USERS)
    scene.crew.kill(BEAT, whole=True, back_after=NEVER_SECONDS)
    try:
        yield _deleted(users)
    finally:
        scene.crew.bring_back([BEAT])


@contextmanager
def broker(scene: Scene) -> Iterator[Effect]:
    """The broker accepts connections, and answers nothing."""
    users = people.born(USERS)
    with scene.stage.redis.frozen():
        yield _deleted(users)


@contextmanager
def row(scene: Scene) -> Iterator[Effect]:
    """A transaction is left open that holds a row."""
    users = people.born(USERS)
    with psycopg.connect(scene.server("blog_db").url) as session:
        session.execute("SELECT 1 FROM blog_post WHERE author_id = %s FOR UPDATE", [users[0]])
        yield _deleted(users)
        session.rollback()


@contextmanager
def barrier(scene: Scene) -> Iterator[Effect]:
    """A transaction is left open that may still insert: nothing can be verified."""
    users = people.born(USERS + 1)
    with psycopg.connect(scene.server("blog_db").url) as session:
        # A user who stays; and the key stays, so nobody waits for the row.
        session.execute(
            "UPDATE blog_post SET created_at = created_at WHERE author_id = %s", [users[-1]]
        )
        _deleted(users[:-1])
        if not scene.stage.until(lambda: _finished(users[:-1]), WAIT_SECONDS):
            raise ProcessError("nothing was done that could be verified")
        # Verification is due from now on, at the latest.
        yield Effect(time.monotonic() + GRACE_SECONDS, users[:-1])
        session.rollback()


def _finished(users: Sequence[int]) -> bool:
    """Whether the rows of those users are gone, to be verified."""
    states = {outcome.state for _, outcome in people.outcomes(users, "blog_db", "shop_db")}
    return bool(states) and states <= {Cascade.State.DONE, Cascade.State.VERIFIED}


@contextmanager
def brake(scene: Scene) -> Iterator[Effect]:
    """The parents' table is empty: who would repair that would delete everything."""
    people.born(MANY)
    scene.run("default", "CREATE TABLE kept_aside AS TABLE auth_user")
    quietly = "SET session_replication_role = replica"
    scene.run("default", quietly, "DELETE FROM auth_user")
    try:
        _scan()
        yield Effect(time.monotonic(), ())
    finally:
        scene.run(
            "default",
            quietly,
            "INSERT INTO auth_user SELECT * FROM kept_aside",
            "DROP TABLE kept_aside",
        )
        _scan()


def _scan() -> None:
    # Its exit code tells whether anything was found.
    with suppress(SystemExit), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        call_command("integrity", "scan", "--relation", "shop.Order.customer", "--full")
    if not Scan.objects.filter(relation="shop.Order.customer").exists():
        raise ProcessError("nothing was scanned")


@contextmanager
def several(scene: Scene) -> Iterator[Effect]:
    """Two faults at once, in different databases."""
    with poison(scene) as first, scene.server("blog_db").stopped():
        yield Effect(time.monotonic(), first.users)


FAULTS = (
    Fault("child database refuses", (Named.of("blog_db", "unreachable"),), refuses),
    Fault("child database frozen", (Named.of("shop_db", "unreachable"),), frozen),
    Fault("poison row", (Named.of("shop_db", "failing", "blocked"),), poison),
    Fault("worker of one queue frozen", (Named.of("shop_db", "workers"),), worker),
    Fault("worker of the control queue frozen", (Named.of("", "workers"),), control),
    Fault("beat stopped", (Named.of("", "beat"),), beat),
    Fault("broker frozen", (Named.of("", "broker"),), broker),
    Fault("idle transaction holds a row", (Named.of("blog_db", "failing"),), row),
    Fault("idle transaction holds the barrier", (Named.of("blog_db", "unproven"),), barrier),
    Fault("empty parents' table", (Named.of("shop.Order.customer", "brake"),), brake),
    Fault(
        "refusing database and poison row at once",
        (Named.of("blog_db", "unreachable"), Named.of("shop_db", "failing", "blocked")),
        several,
    ),
)
