"""One database has one address, however its settings are written."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from apps.integrity import capture
from apps.integrity.backends.addresses import address, address_of

SERVER = {"NAME": "all", "HOST": "db.example", "PORT": ""}


def of(vendor: str = "postgresql", **values: Any) -> Any:
    return address_of({**SERVER, **values}, vendor)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"PORT": 5432}),
        ({}, {"PORT": "5432", "USER": "else", "CONN_MAX_AGE": 60}),
        ({}, {"OPTIONS": {"passfile": ".pgpass", "connect_timeout": 1, "pool": True}}),
        ({"HOST": "localhost"}, {"HOST": "127.0.0.1"}),
        ({"HOST": "DB.example"}, {"HOST": "db.example"}),
        ({"HOST": ""}, {"HOST": None, "PORT": "5432"}),
        ({"HOST": "/var/run/postgresql"}, {"HOST": "/var/run/postgresql/"}),
        ({}, {"HOST": "", "NAME": "", "OPTIONS": {"host": "db.example", "dbname": "all"}}),
        (
            {"OPTIONS": {"options": "-c search_path=a,b"}},
            {"OPTIONS": {"options": '-c statement_timeout=9 -c search_path="a",b'}},
        ),
        (
            {"NAME": "", "HOST": "", "OPTIONS": {"service": "main"}},
            {"NAME": "", "HOST": "", "OPTIONS": {"service": "main", "passfile": "x"}},
        ),
    ],
)
def test_one_database_written_in_two_ways(one: Any, other: Any) -> None:
    assert of(**one) == of(**other) is not None


@pytest.mark.parametrize(
    "values",
    [
        {"NAME": "other"},
        {"HOST": "other.example"},
        {"HOST": ""},
        {"HOST": "/var/run/postgresql"},
        {"PORT": "6432"},  # a pooler, perhaps: the settings do not tell
        {"OPTIONS": {"options": "-c search_path=tenant"}},
        {"OPTIONS": {"options": "-csearch_path=tenant"}},
        {"OPTIONS": {"service": "main"}},
    ],
)
def test_what_differs_is_another(values: dict[str, Any]) -> None:
    assert of(**values) != of()


def test_two_schemas_are_two() -> None:
    assert of(OPTIONS={"options": "-c search_path=a"}) != of(
        OPTIONS={"options": "-c search_path=b"}
    )


@pytest.mark.parametrize("vendor", ["mysql", "oracle"])
def test_each_vendor_has_its_port_and_its_databases(vendor: str) -> None:
    assert of(vendor) != of()
    assert of(vendor) == of(vendor, PORT={"mysql": 3306, "oracle": 1521}[vendor])
    assert of("mysql", HOST="", OPTIONS={"unix_socket": "/run/a"}) == of("mysql", HOST="/run/a")


def test_without_a_name_nothing_is_told() -> None:
    assert of(NAME="") is None
    assert of(NAME=None, OPTIONS={}) is None


class TestSqlite:
    def test_a_file_is_one_by_whatever_path(self, monkeypatch: Any, tmp_path: Any) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link.sqlite3").symlink_to(tmp_path / "a.sqlite3")
        names = (
            *("a.sqlite3", "b/../a.sqlite3", str(tmp_path / "a.sqlite3"), tmp_path / "a.sqlite3"),
            *("file:a.sqlite3?mode=ro", f"file://{tmp_path}/a.sqlite3", "link.sqlite3"),
        )
        assert len({of("sqlite", NAME=name) for name in names}) == 1
        assert of("sqlite", NAME="a.sqlite3") != of("sqlite", NAME="other.sqlite3")

    @pytest.mark.parametrize("name", ["", ":memory:", "file::memory:", "file:x?mode=memory"])
    def test_what_is_in_memory_is_its_connections_own(self, name: str) -> None:
        assert of("sqlite", NAME=name) is None

    def test_unless_it_is_shared_under_a_name(self) -> None:
        first, second = (f"file:{name}?mode=memory&cache=shared" for name in "ab")
        assert of("sqlite", NAME=first) is not None
        assert of("sqlite", NAME=first) != of("sqlite", NAME=second)


class TestIsHome:
    """A delete counts on each route to the parents' database, and nowhere else."""

    def put(self, monkeypatch: pytest.MonkeyPatch, alias: str, **values: Any) -> None:
        made = {**connections[alias].settings_dict, **values}
        monkeypatch.setattr(connections[alias], "settings_dict", made)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, True),  # a test mirror has its name
            ({"passfile": "other"}, True),
            ({"options": "-c search_path=tenant"}, False),
            ({"service": "elsewhere"}, False),
        ],
    )
    def test_by_its_address(
        self, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], *, expected: bool
    ) -> None:
        self.put(monkeypatch, "default", OPTIONS={}, NAME="people", HOST="db.example", PORT="")
        self.put(
            monkeypatch, "shop_db", OPTIONS=options, NAME="people", HOST="db.example", PORT=5432
        )
        assert capture.is_home(User, "default")
        assert capture.is_home(User, "shop_db") is expected
        assert (address("shop_db") == address("default")) is expected

    def test_two_databases_in_memory_are_two(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for alias in ("default", "test_lite"):
            monkeypatch.setattr(connections[alias], "vendor", "sqlite")
            self.put(monkeypatch, alias, NAME=":memory:")
        assert not capture.is_home(User, "test_lite")
