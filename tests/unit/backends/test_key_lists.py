"""Lists of keys in statements for MySQL and MariaDB."""

from __future__ import annotations

import re

from apps.integrity.backends.mysql import row_sql


def test_whole_numbers_need_no_parameters() -> None:
    assert row_sql.among("`k`", [3, -1]) == ("`k` IN (3, -1)", ())


def test_everything_else_is_a_parameter() -> None:
    for keys in (["1", "2"], [1, "2; DROP TABLE"], [True, 1], [None]):
        sql, params = row_sql.among("`k`", keys)
        assert (sql.count("%s"), list(params)) == (len(keys), keys)


def test_no_list_is_so_long_that_mariadb_makes_a_join_of_it() -> None:
    for keys in ([*range(2_000)], [f"a{n}" for n in range(2_000)]):
        sql, params = row_sql.among("`k`", keys)
        lists = re.findall(r"`k` IN \(([^)]*)\)", sql)
        assert sql == f"({' OR '.join(f'`k` IN ({each})' for each in lists)})"
        values = [each.split(", ") for each in lists]
        assert max(map(len, values)) < 1_000
        written = [value for each in values for value in each]
        assert written == ["%s"] * 2_000 if params else written == [*map(str, keys)]
    for keys in ([*range(10_000)], [f"a{n}" for n in range(2_000)]):
        parts = row_sql.lists(keys)
        assert [key for part in parts for key in part] == keys
