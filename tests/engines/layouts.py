"""Which engine holds which database of the project, and what is tested there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A run of pytest.

    The databases of the aliases `mariadb` are on one MariaDB server, whose clock shows the time of
    `zone`. All others are on PostgreSQL servers.
    """

    about: str
    tests: tuple[str, ...]
    #: Of pytest, where no argument names a file.
    options: tuple[str, ...] = ()
    mariadb: tuple[str, ...] = ()
    zone: str = "SYSTEM"


#: Each process has servers of its own, and the tests of a file stay together.
SPREAD = ("-n", "2", "--dist", "loadfile", "-q")
MARIADB = ("tests/engines/mariadb",)
#: Tests of `./run test` that show what differs most between engines, on either side.
INTEGRATION = "tests/integration"
KINDS = (f"{INTEGRATION}/relations/test_relations_kinds.py",)
CHILDREN = (*KINDS, f"{INTEGRATION}/cascade/test_cascade.py")
PARENTS = (
    *KINDS,
    f"{INTEGRATION}/capture/test_admin_delete.py",
    f"{INTEGRATION}/capture/test_capture.py",
    f"{INTEGRATION}/log/test_log.py",
    f"{INTEGRATION}/report/test_metrics.py",
)
BOTH = (
    *dict.fromkeys((*CHILDREN, *PARENTS)),
    f"{INTEGRATION}/relations/test_declared_relations.py",
    f"{INTEGRATION}/relations/test_generic_relations.py",
)
LAYOUTS = {
    "children": Layout(
        about="parents and log in PostgreSQL, children in MariaDB (-08:00)",
        tests=MARIADB + CHILDREN,
        options=SPREAD,
        mariadb=("blog_db", "shop_db"),
        zone="-08:00",
    ),
    "parents": Layout(
        about="parents and log in MariaDB (+05:00), children in PostgreSQL",
        tests=MARIADB + PARENTS,
        options=SPREAD,
        mariadb=("default",),
        zone="+05:00",
    ),
    "all": Layout(
        about="every database on one MariaDB server (+05:00)",
        tests=MARIADB + BOTH,
        options=SPREAD,
        mariadb=("default", "blog_db", "shop_db"),
        zone="+05:00",
    ),
    "others": Layout(
        about="RabbitMQ, PgBouncer, a PostgreSQL standby, SQLite under writers",
        tests=("tests/engines", "--ignore=tests/engines/mariadb"),
    ),
}
