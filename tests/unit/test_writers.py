"""Each table of the product has its writers: no other module changes it.

The test reads the source. A write is a call of a method that changes rows, or an SQL statement in a
string; its model is the one that the queryset began with. Variables, parameters with an annotation
and helper functions of the same module are followed.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

PRODUCT = Path(__file__).resolve().parents[2] / "apps" / "integrity"
LOG_BACKENDS = (
    "backends/mysql/log.py",
    "backends/portable/log.py",
    "backends/postgresql/log.py",
)
LOG = ("log/", *LOG_BACKENDS, "backends/postgresql/log_sql.py")
#: Model → the folders and modules that write its table.
WRITERS = {
    "Deletion": (*LOG, "backends/postgresql/triggers/"),
    "Cascade": LOG,
    "Suspect": ("log/suspects.py", "log/renames.py"),
    "Audit": ("backends/portable/log.py", "backends/postgresql/log.py", "control/retention.py"),
    "ChildDatabase": ("control/actions.py", "control/circuit_breaker.py", "control/pacing.py"),
    "Heartbeat": ("control/heartbeats.py", "control/retention.py"),
    "Identity": ("control/identity.py",),
    "Tally": ("log/tallies.py", *LOG_BACKENDS),
    "Finding": ("log/findings.py",),
    "Scan": ("scan/scan_row.py",),
    "Scope": ("log/scopes.py",),
    "Alarm": ("report/alarms.py",),
    "FailedAttempt": ("log/failures.py",),
}
#: These change rows of the project's own models.
OF_THE_PROJECT = {
    "backends/portable/rows.py",
    "cascade/strategies.py",
    "testing.py",
}
CHANGES = {"_raw_delete", "bulk_create", "bulk_update", "create", "get_or_create"}
CHANGES |= {"update_or_create", "save"}
#: Functions of `log.tables`, and the rows that they return.
TABLES = {
    "cascades": "Cascade",
    "deletions": "Deletion",
    "suspects": "Suspect",
    "recorded": "Deletion",
    "of_deletions": "Cascade",
}
SQL = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM)\s+\W*integrity_([a-z]+)")
#: How the triggers' functions, which are made for each schema, name the table of deletions.
LOG_NAME = "{log}"
BY_TABLE = {name.lower(): name for name in WRITERS}

Models = frozenset[str]
NONE: Models = frozenset()


def _is_write(call: ast.Call) -> bool:
    """Return whether the call changes rows. `dict.update` and the like have a positional one."""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if method in {"update", "delete"}:
        return not call.args
    return method in CHANGES


class Function:
    """What is of interest in one function. It is walked once only, which takes most of the time."""

    def __init__(self, definition: ast.FunctionDef) -> None:
        self.name = definition.name
        self.parameters: dict[str, Models] = {}
        self.assigned: list[tuple[str, ast.expr]] = []
        self.returned: list[ast.expr] = []
        self.writes: list[ast.Call] = []
        for parameter in (*definition.args.args, *definition.args.kwonlyargs):
            words = re.findall(r"\w+", ast.unparse(parameter.annotation or ast.Constant("")))
            self.parameters[parameter.arg] = frozenset(WRITERS.keys() & words)
        for node in ast.walk(definition):
            self._sort(node)

    def _sort(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self._assign(targets, value)
            case ast.NamedExpr(target=target, value=value):
                self._assign([target], value)
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                self._assign([target], value)
            case ast.Return(value=ast.expr() as value) | ast.Yield(value=ast.expr() as value):
                self.returned.append(value)
            case ast.Call() if _is_write(node):
                self.writes.append(node)

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        for target in targets:
            for name in ast.walk(target):  # `row, _ = …`: any of them may be the row
                if isinstance(name, ast.Name):
                    self.assigned.append((name.id, value))


class Module:
    """What one module writes."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))
        self.functions = [
            Function(each) for each in self.nodes if isinstance(each, ast.FunctionDef)
        ]
        self.returned: dict[str, Models] = {}
        for _ in range(3):  # helpers may call helpers
            for function in self.functions:
                names = self._names(function)
                values = (self._models(value, names) for value in function.returned)
                self.returned[function.name] = NONE.union(*values)

    def writes(self) -> tuple[set[str], list[int]]:
        """Return the models that are written, and the lines of writes that are not understood."""
        models, unknown = set[str](), dict[int, bool]()
        for function in self.functions:
            names = self._names(function)
            for call in function.writes:
                assert isinstance(call.func, ast.Attribute)
                found = self._models(call.func.value, names)
                models |= found
                # A nested function is walked twice, once without the names around it.
                unknown[call.lineno] = unknown.get(call.lineno, True) and not found
        for text in self.nodes:
            if isinstance(text, ast.JoinedStr | ast.Constant):
                sql = ast.unparse(text).replace(LOG_NAME, "integrity_deletion")
                models |= {BY_TABLE[table] for table in SQL.findall(sql)}
        return models, sorted(line for line, is_unknown in unknown.items() if is_unknown)

    def _names(self, function: Function) -> dict[str, Models]:
        """Return the local variables that hold rows or querysets of known models."""
        names: dict[str, Models] = defaultdict(frozenset, function.parameters)
        for _ in range(3):  # in whatever order they are assigned
            for name, value in function.assigned:
                names[name] |= self._models(value, names)
        return names

    def _models(self, node: ast.expr, names: dict[str, Models]) -> Models:
        match node:
            case ast.Name(id=name):
                models = frozenset({name} & WRITERS.keys()) | names.get(name, NONE)
                parts: list[ast.expr] = []
            case ast.Call(func=ast.Attribute(value=ast.Name(id="tables"), attr=name), args=rows):
                models = frozenset({TABLES[name]} if name in TABLES else ())
                parts = [] if models else rows
            case ast.Call(func=ast.Attribute(attr=name)) if name in self.returned:
                models, parts = self.returned[name], []
            case ast.Call(func=ast.Name(id=name), args=rows):
                models = self.returned.get(name, NONE) | frozenset({name} & WRITERS.keys())
                parts = rows
            case ast.Call(func=value) | ast.Attribute(value=value) | ast.Subscript(value=value):
                models, parts = NONE, [value]
            case ast.IfExp(body=one, orelse=other):
                models, parts = NONE, [one, other]
            case ast.DictComp(value=value):
                models, parts = NONE, [value]
            case ast.Tuple(elts=[first, *_]):
                models, parts = NONE, [first]
            case _:
                models, parts = NONE, []
        return models.union(*(self._models(part, names) for part in parts))


@cache
def written() -> dict[str, tuple[set[str], list[int]]]:
    """Return what each module of the product writes, by its path."""
    return {
        path.relative_to(PRODUCT).as_posix(): Module(ast.parse(path.read_text())).writes()
        for path in PRODUCT.rglob("*.py")
        if "migrations" not in path.parts
    }


@pytest.mark.parametrize("model", WRITERS)
def test_a_table_is_changed_by_its_writers_alone(model: str) -> None:
    modules = {path for path, (models, _) in written().items() if model in models}
    assert modules
    assert not {path for path in modules if not path.startswith(WRITERS[model])}


def test_each_writer_that_is_listed_writes() -> None:
    for model, places in WRITERS.items():
        for place in places:
            assert any(
                path.startswith(place) and model in models
                for path, (models, _) in written().items()
            ), f"{place} does not write {model}"


def test_it_is_known_what_each_write_changes() -> None:
    unknown = {path: lines for path, (_, lines) in written().items() if lines}
    assert not unknown.keys() - OF_THE_PROJECT, unknown


@pytest.mark.parametrize(
    ("source", "models"),
    [
        ("def f(): Scan.objects.using(a).filter(b=1).update(c=2)", {"Scan"}),
        ("def f():\n rows = Alarm.objects.all()\n for row in rows: row.delete(using=a)", {"Alarm"}),
        ("def f(rows: QuerySet[Audit]): rows._raw_delete(a)", {"Audit"}),
        ("def f(): return Scan.objects\ndef g(): f().create(a=1)", {"Scan"}),
        ("def f(): tables.locked(tables.cascades(a), a).update(b=1)", {"Cascade"}),
        ("def f(): cursor.execute('DELETE FROM integrity_scan')", {"Scan"}),
        ("def f(): Scan.objects.filter(a=1).count(); found.update({})", set()),
    ],
)
def test_the_rule_sees_a_write(source: str, models: set[str]) -> None:
    assert Module(ast.parse(source)).writes() == (models, [])


def test_the_architecture_page_has_the_same_writers() -> None:
    page = PRODUCT.parents[1] / "docs" / "explanation" / "architecture.md"
    rows = re.findall(r"^\| `([A-Z]\w+)` \| ([^|]+) \|", page.read_text(), re.MULTILINE)
    written = {model: set(re.findall(r"`([^`]+)`", cell)) for model, cell in rows}
    assert written == {
        model: {place.removesuffix(".py").rstrip("/") for place in places}
        for model, places in WRITERS.items()
    }
