"""SQL on rows of given keys, at most a limit of them in one statement.

Note [Through an index]: a DELETE or UPDATE locks each row that it reads, and waits for those that
others have locked. In a small table the server would rather read all rows than use an index, so it
would wait for rows of other keys. It has no setting that forbids this, but one that makes it prefer
any index: `sql_safe_updates`. That is set for the one statement only, because it refuses statements
without a condition, such as a receiver's. A trigger's are refused as well, and then the statement
runs without it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections

from ...exceptions import InvalidKey
from ...exceptions.redaction import code_of
from ...relations import stored
from ...relations.relation import label
from ..quoted import extra_conditions, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from ...relations import Field

#: Keys in one list. Of a list of 1,000 MariaDB makes a join, for which it may choose another index,
#: or read, and lock, the whole table in spite of a hint.
KEYS = 900
#: Lists in one statement on the project's rows. (MariaDB looks at 16,000 ranges of an index.)
LISTS = 5
#: The server refused a statement without a condition that an index serves.
SAFE_UPDATES = "1175"
#: Statements that another statement of the same table has shown to have triggers without an index.
_refused = set[tuple[str, str]]()


def is_mariadb(using: str) -> bool:
    """Return whether the server is MariaDB."""
    connection: Any = connections[using]
    return bool(connection.mysql_is_mariadb)


def through_index(using: str) -> AbstractContextManager[None]:
    """Let DELETE and UPDATE in the block find their rows by an index. See Note [Through an index].

    MySQL has a hint for what MariaDB writes before the statement.
    """
    mariadb = is_mariadb(using)

    def run(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        verb = sql[:6]
        if verb not in {"DELETE", "UPDATE"} or (using, table_of(sql)) in _refused:
            return execute(sql, *arguments)
        hint = f"{verb} /*+ SET_VAR(sql_safe_updates=1) */{sql[6:]}"
        try:
            safe = f"SET STATEMENT sql_safe_updates=1 FOR {sql}" if mariadb else hint
            return execute(safe, *arguments)
        except DatabaseError as error:
            if code_of(error) != SAFE_UPDATES:
                raise
        _refused.add((using, table_of(sql)))
        return execute(sql, *arguments)

    return connections[using].execute_wrapper(run)


def table_of(sql: str) -> str:
    """Return the statement up to the quoted name of its table."""
    return "`".join(sql.split("`", 2)[:2])


def is_exact(field: Field) -> bool:
    """Return whether the server and Python agree on which keys are equal."""
    return stored.compares_alike(field)


def lists(keys: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the keys in parts, each of which fits into one statement."""
    most = KEYS * LISTS if _are_numbers(keys) else KEYS
    return [keys[start : start + most] for start in range(0, len(keys), most)]


def among(column: str, keys: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """Return the condition that a column holds one of those keys, and its parameters. Pure.

    Whole numbers are written as they are: the driver would take longer over parameters than the
    server over the rows of these keys.
    """
    numbers, found = _are_numbers(keys), list[str]()
    for start in range(0, len(keys), KEYS):
        part = keys[start : start + KEYS]
        marks = map(str, part) if numbers else ["%s"] * len(part)
        found.append(f"{column} IN ({', '.join(marks)})")
    return f"({' OR '.join(found)})" if found[1:] else found[0], () if numbers else keys


def _are_numbers(keys: Sequence[Any]) -> bool:
    return {*map(type, keys)} == {int}


def condition(field: Field, keys: Sequence[Any], using: str) -> tuple[str, Sequence[Any]]:
    """Return the condition that a row holds one of those keys, and its parameters."""
    names = names_of(field, using)
    row = names["table"]
    wanted, params = among(f"{row}.{names['key']}", keys)
    return f"{wanted}{extra_conditions(field, row, using)}", params


def condition_for_one(field: Field, using: str) -> str:
    """Return the condition that a row holds a key, which is its parameter."""
    names = names_of(field, using)
    return f"{names['table']}.{names['key']} = %s{extra_conditions(field, names['table'], using)}"


def execute(sql: str, params: Sequence[Any], using: str) -> tuple[int, list[Any]]:
    """Run the statement; return how many rows it has changed, and the first column of its rows."""
    with through_index(using), connections[using].cursor() as cursor:
        cursor.execute(sql, [*params])
        rows = [value for (value, *_) in cursor.fetchall()] if cursor.description else []
        return int(cursor.rowcount), rows


def fetch(sql: str, params: Sequence[Any], using: str) -> list[tuple[Any, ...]]:
    """Run the query; return its rows."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, [*params])
        return list(cursor.fetchall())


def delete_some(
    field: Field, keys: Sequence[Any], limit: int, using: str, *, place: str = ""
) -> tuple[str, Sequence[Any]]:
    """Return the statement that deletes at most `limit` rows of keys, and its parameters."""
    table, (rows, params) = names_of(field, using)["table"], condition(field, keys, using)
    return f"DELETE FROM {table} WHERE {rows}{place} LIMIT {limit:d}", params


def deleted_keys(field: Field, keys: Sequence[Any], limit: int, using: str) -> Counter[Any]:
    """Delete at most `limit` rows of keys; return how many there were of each.

    Of several keys on MariaDB only, which returns what it deletes.
    """
    sql, params = delete_some(field, keys, limit, using)
    if len(keys) == 1:
        number, _ = execute(sql, params, using)
        return Counter({keys[0]: number} if number else {})
    names = names_of(field, using)
    _, rows = execute(f"{sql} RETURNING {names['table']}.{names['key']}", params, using)
    return Counter(dict(_of_keys(field, keys, Counter(rows).items())))


def _of_keys(field: Field, keys: Sequence[Any], rows: Any) -> list[tuple[Any, Any]]:
    """Return pairs whose first value is a key as it was asked for.

    The driver returns a UUID as text. Raises `InvalidKey` for a row of another key.
    """
    asked = {str(key).lower(): key for key in keys}
    pairs = [(asked.get(str(value).lower()), rest) for value, rest in rows]
    if any(key is None for key, _ in pairs):
        raise InvalidKey(
            f"{label(field)}: the server returns keys in another form than the field's"
            " get_db_prep_value() makes of them. Nothing was changed"
        )
    return pairs


def may_join(field: Field, keys: Sequence[Any], using: str) -> bool:
    """Return whether the keys are whole numbers, and the server can join them: see `WANTED`."""
    connection: Any = connections[using]
    knows = not is_mariadb(using) or connection.mysql_version >= (10, 6)
    return knows and stored.keeps_integers(field) and {*map(type, keys)} == {int}


#: Whole numbers as a table of one column `k`. Its parameter is what `as_json` returns.
WANTED = "JSON_TABLE(%s, '$[*]' COLUMNS (k BIGINT PATH '$')) AS wanted"


def as_json(keys: Sequence[int]) -> str:
    """Return whole numbers as one parameter."""
    return f"[{','.join(map(str, keys))}]"
