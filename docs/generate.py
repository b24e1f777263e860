"""Generate the pages of `docs/reference` and `docs/on-call` that come from the code.

The input is the source, argparse's help and prometheus_client's metrics. The Markdown is the same
under every supported Python, on any terminal. `./run docs --write` writes it; a test compares it.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from apps.integrity.backends import codes
from apps.integrity.management.broken_pipe import PIPE_CLOSED
from apps.integrity.management.commands import cleanup_orphaned, integrity
from apps.integrity.management.exit_codes import MEANINGS
from apps.integrity.management.parser import PlainParser
from apps.integrity.management.table import WIDTH as WIDTH_OF_TABLES
from apps.integrity.management.verb import INTERRUPTED
from apps.integrity.report import metrics

from . import on_call

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from django.core.management.base import BaseCommand, CommandParser

    from apps.integrity.report.status import Status

HERE = Path(__file__).resolve().parent
PRODUCT = HERE.parent / "apps" / "integrity"
PACKAGE = "crossdb_integrity"
WIDTH = 88
TERMINAL = {"COLUMNS": f"{WIDTH}", "NO_COLOR": "1"}
NOTICE = "<!-- Written by `./run docs --write` from the code. Change the code, not this page. -->\n"

#: The public Python interface, in reading order: module → names, or all of its classes.
API = {
    "capture": ("record", "because", "pending"),
    "reading": ("alive", "AliveQuerySet", "validate_on_save"),
    "declared": ("Relation",),
    "erasure": ("Step", "Found"),
    "signals": (
        *("deletion_recorded", "cascade_finished", "orphan_found"),
        *("alarm_raised", "alarm_cleared"),
    ),
    "routers": ("LogRouter", "AppLabelRouter"),
    "routing": (
        "CeleryConfig",
        "celery_settings",
        "task_queues",
        "BEAT_SCHEDULE",
        "beat_schedule",
        "route_task",
        "queue_for",
    ),
    "queues.celery_worker": ("install",),
    "queues.messages": ("work_for",),
    "testing": ("drain", "assert_no_orphans", "assert_cascades", "CrossDatabaseTestMixin"),
    "admin": ("CrossDatabaseAdminMixin",),
    "operations": ("RenameTracked", "RenameTrackedField"),
    "report.metrics": ("IntegrityCollector", "exposition"),
    "exceptions": (),
}

NOTHING: Status = {
    "faults": [],
    "databases": [],
    "unknown": [],
    "deletions": {},
    "unreachable_logs": [],
    "scans": [],
    "workers": [],
    "beat": None,
    "eager": False,
}

REASONS = (
    "\n## What a reason says\n",
    "A reason in `status`, on the dashboard, in an alarm or in a log record is one line of at",
    "most 500 printable characters. For an error it contains the class and the code, the names of",
    "table, column, constraint and function that the server reported, and the receiver of a signal",
    "that raised it: `IntegrityError 23505 (table shop_order, constraint one_each)`,",
    "`ValueError in receiver crm.signals.forget`. It never quotes the message of a server or of a",
    "receiver, because that may quote rows. Control characters are escaped (`\\x1b`).\n",
    "A log record also names the lines of code that the error passed through. The log contains its",
    "message only at the level `DEBUG` of the loggers `integrity.*`. Enable that to debug a",
    "receiver, but not where logs are kept, because the message may contain personal data.\n",
    "A failed task reports the same to Celery, and so to the worker's log, to Flower and to a",
    "result backend: each error is a `TaskFailed` with the name of the task and such a reason, and",
    "without a cause. A task that you call as a function raises the error itself.",
)
ENGINES = {"postgresql": "PostgreSQL", "mysql": "MySQL and MariaDB", "sqlite": "SQLite"}
#: What happens to the work, for each trouble.
ERRORS = {
    codes.Trouble.HINDERED: "The whole database waits and is probed again every `probe_seconds`. No"
    " attempt is counted, other databases continue. Connections that are refused or lost, without a"
    " code, belong here.",
    codes.Trouble.CONTENTION: "Locked rows are skipped and retried soon; no attempt is counted.",
    codes.Trouble.TOO_LARGE: "The next step takes half as many rows. An attempt is counted only if"
    " a single row was too much. A task's soft time limit and `MemoryError` belong here.",
    codes.Trouble.SCHEMA: "A table or a column of the relation is missing, or the server hides rows"
    " from the role. The work waits, no attempt is counted, and the reason names the remedy.",
    codes.Trouble.REFUSED: "The claim is bisected until the refused row is found. Attempts are"
    " counted, with a growing delay, and the work is blocked after `attempts`. Any other code of a"
    " server belongs here.",
    codes.Trouble.BUG: "An error that does not come from a server, such as one of a receiver. It is"
    " handled like a refused row, and the log says where it came from.",
}


def write() -> list[Path]:
    """Write the pages. Return those that changed."""
    changed = []
    for name, text in pages().items():
        path = HERE / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed.append(path)
    return changed


def pages() -> dict[str, str]:
    """Path below docs/ → content."""
    makers = {
        "settings.md": _settings,
        "commands.md": _commands,
        "python.md": _python,
        "metrics.md": _metrics,
        "errors.md": _errors,
    }
    reference = {
        f"reference/{name}": "\n".join((NOTICE, *make())) + "\n" for name, make in makers.items()
    }
    return reference | on_call.pages(NOTICE)


# Settings


def _settings() -> Iterator[str]:
    yield "# Settings\n"
    yield "All settings are keys of one dictionary, `INTEGRITY`, and every key has a default. Units"
    yield "are in the names: `…_seconds`, `…_rows`, `…_keys`, `…_days`. An unknown key or an"
    yield "invalid value stops the start with an error that names it. `AppLabelRouter` also reads"
    yield "`DATABASE_ROUTING_RULES` ([routing](../how-to/routing.md)).\n"
    source = PRODUCT.joinpath("conf/fields.py").read_text()
    body = _named(ast.parse(source), "Fields").body
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert field.value is not None
            default = ast.get_source_segment(source, field.value)
            kind = ast.unparse(field.annotation).replace("Mapping[str, str]", "dict")
            yield f"## `{ast.unparse(field.target)}`\n"
            yield f"`{kind}`, default `{default}`\n"
            yield f"{inspect.cleandoc(ast.literal_eval(text.value))}\n"


# Commands


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield "`manage.py integrity VERB` inspects and controls deletions. `manage.py cleanup_orphaned`"
    yield "scans and repairs in one run. Results go to stdout, progress goes to stderr. With"
    yield "`--json`, stdout holds one document ([JSON documents](json.md)). Django's own options"
    yield "(`--settings`, `--no-color`, …) are accepted and not listed here.\n"
    yield f"Tables and sentences fit {WIDTH_OF_TABLES} columns; `--wide` breaks no line. On stderr,"
    yield "lines are broken on a terminal only. SQL, charts and JSON are never broken.\n"
    yield "## Exit codes\n"
    yield "Where several apply, the highest one is returned.\n"
    yield "| code | `exit_reason` | means |"
    yield "|---|---|---|"
    for code, meaning in MEANINGS.items():
        yield f"| {code} | `{code.name.lower()}` | {meaning} |"
    yield ""
    yield f"Where the reader stops early, as in `| head -1`, the code is {PIPE_CLOSED}."
    yield "Work that was asked for is done all the same."
    yield f"After Ctrl-C it is {INTERRUPTED}, and the last sentence says how to go on.\n"
    parser = _parser(integrity.Command(), "integrity")
    verbs = next(action for action in parser._actions if action.dest == "verb")  # noqa: SLF001
    assert isinstance(verbs.choices, dict)
    for name, verb in verbs.choices.items():
        yield from _help(f"integrity {name}", verb)
    yield from _help("cleanup_orphaned", _parser(cleanup_orphaned.Command(), "cleanup_orphaned"))


def _parser(command: BaseCommand, name: str) -> CommandParser:
    parser = PlainParser(prog=f"manage.py {name}", description=command.help)
    command.add_arguments(parser)
    return parser


def _help(title: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    with patch.dict(os.environ, TERMINAL):
        text = parser.format_help()
    yield f"## {title}\n"
    yield f"```text\n{text.rstrip()}\n```\n"


# Python


def _python() -> Iterator[str]:
    yield "# Python\n"
    yield "The public interface, which is stable. All errors have the base `CrossDatabaseError`.\n"
    for module, names in API.items():
        path = _file(PRODUCT, module)
        tree = ast.parse(path.read_text())
        yield f"## {PACKAGE}.{module}\n"
        yield f"{inspect.cleandoc(ast.get_docstring(tree) or '').partition(chr(10) * 2)[0]}\n"
        for name in names or _classes(path):
            yield f"### {name}\n"
            yield from _entry(_defining(path, name).read_text(), name)


def _classes(path: Path) -> Iterator[str]:
    """Yield the classes that a module defines, or imports from its own package, in their order."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            imported = {alias.name for alias in node.names}
            yield from (
                each for each in _classes(_file(path.parent, node.module)) if each in imported
            )


def _file(folder: Path, module: str) -> Path:
    """Return the file of a module below `folder`, or the `__init__.py` of a package."""
    path = folder.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _defining(path: Path, name: str) -> Path:
    """Return the file that defines a name, where `path` may only import it from its own package."""
    for node in ast.parse(path.read_text()).body:
        if not (isinstance(node, ast.ImportFrom) and node.level == 1 and node.module):
            continue
        if any(alias.name == name for alias in node.names):
            return _defining(_file(path.parent, node.module), name)
    return path


def _entry(source: str, name: str) -> Iterator[str]:
    """A value with its comment; a function or class with its signature and docstring."""
    if match := re.search(rf"((?:^#: .*\n)+)(?:^\w+ = .*\n)*{name} = ", source, re.MULTILINE):
        yield match[1].replace("#: ", "")
        return
    found = _named(ast.parse(source), name)
    yield f"```text\n{name}{_signature(found)}\n```\n"
    yield f"{_with_lists(ast.get_docstring(found) or '')}\n"


def _with_lists(docstring: str) -> str:
    """Return a docstring whose sections "Args:" and "Raises:" are lists in Markdown."""
    docstring = re.sub(r"^(Args|Raises):$", r"\1:\n", docstring, flags=re.MULTILINE)
    return re.sub(r"^    (\w+): ", r"- `\1`: ", docstring, flags=re.MULTILINE)


def _signature(found: ast.ClassDef | ast.FunctionDef) -> str:
    if isinstance(found, ast.ClassDef) and found.bases:
        return f"({', '.join(map(ast.unparse, found.bases))})"
    if isinstance(found, ast.ClassDef):
        fields = (ast.unparse(each) for each in found.body if isinstance(each, ast.AnnAssign))
        taken, given = ", ".join(fields).replace("_: KW_ONLY", "*"), ""
    else:
        taken = ast.unparse(found.args)
        given = f" -> {ast.unparse(found.returns)}" if found.returns else ""
    if not taken and isinstance(found, ast.ClassDef):
        return ""
    if len(found.name + taken + given) > WIDTH:
        lines = "".join(f"    {each},\n" for each in _parts(taken))
        return f"(\n{lines}){given}"
    return f"({taken}){given}"


def _parts(arguments: str) -> list[str]:
    """Split at the commas outside of brackets."""
    depth, parts = 0, [""]
    for char in arguments:
        depth += (char in "[(") - (char in "])")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [each.strip() for each in parts]


def _named(tree: ast.Module, name: str) -> ast.ClassDef | ast.FunctionDef:
    kinds = (ast.ClassDef, ast.FunctionDef)
    return next(each for each in tree.body if isinstance(each, kinds) and each.name == name)


# Metrics


def _metrics() -> Iterator[str]:
    yield "# Metrics\n"
    yield "`/integrity/metrics`, in Prometheus' text format, with the extra `metrics`"
    yield "([runbook](../runbook.md)). All are gauges, read from the databases at each scrape.\n"
    yield "| metric | labels | meaning |"
    yield "|---|---|---|"
    for each in metrics.families(NOTHING):
        labels = ", ".join(f"`{label}`" for label in each._labelnames)  # noqa: SLF001
        yield f"| `{each.name}` | {labels} | {each.documentation} |"


def _errors() -> Iterator[str]:
    yield "# What an error means\n"
    yield "The server's error code determines what happens to the work, not the class of the"
    yield "exception (`apps/integrity/backends/errors.py`). A code covers all codes that begin with"
    yield "it, unless a longer one is listed.\n"
    yield "| trouble | what happens |"
    yield "|---|---|"
    for trouble, text in ERRORS.items():
        yield f"| {trouble} | {text} |"
    yield from REASONS
    for vendor, table in codes.OF_VENDOR.items():
        yield f"\n## {ENGINES[vendor]}\n"
        yield "| code | trouble | reported as |"
        yield "|---|---|---|"
        for code, each in table.items():
            yield f"| `{code}` | {each.trouble} | {each.words} |"
