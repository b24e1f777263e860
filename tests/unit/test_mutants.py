"""Every mutation still fits the source; and only a test that fails kills one."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import lane as lanes
from tests.mutants.known import MUTATIONS
from tests.mutants.lane import Lane, copy_tree
from tests.mutants.mutation import Misplaced, Mutation

ROOT = Path(__file__).resolve().parents[2]
EACH = pytest.mark.parametrize("mutation", MUTATIONS, ids=[each.name for each in MUTATIONS])


@functools.cache
def names_in(file: str) -> frozenset[str]:
    """Names of its tests, as in "TestClass::test_method"."""
    found: set[str] = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
            found |= {node.name, *(f"{node.name}::{name}" for name in methods)}
    return frozenset(found)


def broken(mutation: Mutation) -> str:
    return mutation.applied_to((ROOT / mutation.file).read_text())


@EACH
def test_it_still_fits_the_source_and_compiles(mutation: Mutation) -> None:
    compile(broken(mutation), mutation.file, "exec")
    assert mutation.old != mutation.new


@EACH
def test_the_tests_that_must_notice_exist(mutation: Mutation) -> None:
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in names_in(file)


def test_no_mutation_names_what_is_not_there(tmp_path: Path) -> None:
    """Such a one would be killed by any test, and prove nothing."""
    for each in MUTATIONS:
        (tmp_path / f"{each.name.replace('-', '_')}.py").write_text(broken(each))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F823"]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_each_has_a_name_of_its_own_and_says_what_it_breaks() -> None:
    names = [each.name for each in MUTATIONS]
    assert len(set(names)) == len(names)
    assert all(each.breaks and "\n" not in each.breaks for each in MUTATIONS)


@pytest.mark.parametrize("source", ["nothing of the kind", "twice twice"])
def test_a_mutation_that_does_not_fit_is_refused(source: str) -> None:
    with pytest.raises(Misplaced, match="not once"):
        mutation("twice", "once").applied_to(source)


def mutation(old: str, new: str) -> Mutation:
    tests = ("test_small.py::test_it_is_two", "test_small.py::test_it_is_small")
    return Mutation("small", "G0: sums", "small.py", old, new, tests)


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    """A project of one function and two tests."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "pytest.ini").write_text("[pytest]\n")
    (root / "small.py").write_text("def sum_of(a, b):\n    return a + b\n")
    (root / "test_small.py").write_text(
        "import small\n\n"
        "def test_it_is_two():\n    assert small.sum_of(1, 1) == 2\n\n"
        "def test_it_is_small():\n    assert small.sum_of(1, 1) < 9\n"
    )
    values = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "DJANGO_SETTINGS_MODULE": ""}
    return Lane(copy_tree(root, tmp_path / "tree"), tmp_path / "tmp", values)


@pytest.mark.parametrize(
    ("old", "new", "verdict", "by"),
    [
        ("a + b", "a - b", "killed", "test_small::test_it_is_two"),
        ("a + b", "a * b + 1", "survived", ""),
        ("a + b", "a + c", "no verdict", "NameError"),
        ("def sum_of", "import nowhere\n\ndef sum_of", "no verdict", "collection failure"),
        ("def sum_of", "def total", "killed", "test_small::test_it_is_two"),
        ("    return", "    import os\n    os._exit(1)\n    return", "no verdict", "exit code 1"),
    ],
    ids=["fails", "passes", "forgets a name", "cannot be imported", "lacks a name", "ends pytest"],
)
def test_a_mutation_is_killed_by_a_test_that_fails_and_by_nothing_else(
    lane: Lane, old: str, new: str, verdict: str, by: str
) -> None:
    outcome = lane.trial(mutation(old, new), seconds=60)
    assert (outcome.verdict, outcome.killed) == (verdict, verdict == "killed")
    assert by in outcome.by


def test_time_that_is_up_kills_no_mutation_and_leaves_no_process(lane: Lane) -> None:
    written = lane.tree / "pid"
    endless = (
        f"    import os, pathlib, time\n    pathlib.Path({str(written)!r}).write_text("
        "str(os.getpid()))\n    time.sleep(600)\n    return"
    )
    outcome = lane.trial(mutation("    return", endless), seconds=15)
    assert (outcome.verdict, outcome.killed) == ("no verdict", False)
    assert "out of time" in outcome.by
    with pytest.raises(ProcessLookupError):
        os.kill(int(written.read_text()), 0)


def test_the_source_is_sound_again_after_each_trial(lane: Lane) -> None:
    sound = (lane.tree / "small.py").read_text()
    assert lane.trial(mutation("a + b", "a - b"), seconds=60).killed
    assert (lane.tree / "small.py").read_text() == sound
    assert lane.run(["test_small.py"], seconds=60).green
    assert lane.trial(mutation("a + b", "b - a"), seconds=60).killed


def test_a_test_that_is_skipped_is_not_green(lane: Lane) -> None:
    (lane.tree / "test_skipped.py").write_text(
        "import pytest\n\ndef test_it():\n    pytest.skip('not here')\n"
    )
    ran = lane.run(["test_skipped.py"], seconds=60)
    assert (ran.code, ran.green) == (lanes.PASSED, False)
    assert ran.skipped == ("test_skipped::test_it",)


def test_a_fixture_that_fails_kills_nothing(lane: Lane) -> None:
    (lane.tree / "test_set_up.py").write_text(
        "import pytest, small\n\n"
        "@pytest.fixture\ndef two():\n    assert small.sum_of(1, 1) == 2\n\n"
        "def test_it(two):\n    pass\n"
    )
    lane.databases.mkdir()
    one = mutation("a + b", "a - b")
    outcome = lane.trial(
        Mutation(one.name, one.breaks, one.file, one.old, one.new, ("test_set_up.py::test_it",)),
        seconds=60,
    )
    assert outcome.verdict == "no verdict"
    assert not lane.databases.exists()  # nobody knows what is in them


def test_the_command_lists_and_refuses() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.mutants", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    listed = run("--list")
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == len(MUTATIONS)
    refused = run("nonsense")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nonsense" in refused.stderr
