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
    mariadb: tuple[str, ...] = ()
    zone: str = "SYSTEM"


MARIADB = ("tests/engines/mariadb",)
LAYOUTS = {
    "children": Layout(
        about="parents and log in PostgreSQL, children in MariaDB (-08:00)",
        tests=MARIADB,
        mariadb=("blog_db", "shop_db"),
        zone="-08:00",
    ),
    "parents": Layout(
        about="parents and log in MariaDB (+05:00), children in PostgreSQL",
        tests=MARIADB,
        mariadb=("default",),
        zone="+05:00",
    ),
    "all": Layout(
        about="every database on one MariaDB server (+05:00)",
        tests=MARIADB,
        mariadb=("default", "blog_db", "shop_db"),
        zone="+05:00",
    ),
    "others": Layout(
        about="RabbitMQ, PgBouncer, a PostgreSQL standby, SQLite under writers",
        tests=("tests/engines", "--ignore=tests/engines/mariadb"),
    ),
}
