"""Every mutation still fits the source, and the tests that must notice it exist."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mutants.known import MUTATIONS

if TYPE_CHECKING:
    from tests.mutants.mutation import Mutation

ROOT = Path(__file__).resolve().parents[2]
EACH = pytest.mark.parametrize("mutation", MUTATIONS, ids=[known.name for known in MUTATIONS])


@functools.cache
def names_in(file: str) -> frozenset[str]:
    """Return the names of its tests, as in "TestClass::test_method"."""
    names: set[str] = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
            names |= {node.name, *(f"{node.name}::{method}" for method in methods)}
    return frozenset(names)


def broken(mutation: Mutation) -> str:
    return mutation.applied_to((ROOT / mutation.file).read_text())


@EACH
def test_its_text_stands_once_in_its_file_and_the_result_compiles(mutation: Mutation) -> None:
    compile(broken(mutation), mutation.file, "exec")
    assert mutation.old != mutation.new


@EACH
def test_its_tests_exist(mutation: Mutation) -> None:
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in names_in(file)


def test_no_mutation_uses_an_undefined_name(tmp_path: Path) -> None:
    """Any test would kill such a mutation, which proves nothing."""
    for mutation in MUTATIONS:
        (tmp_path / f"{mutation.name.replace('-', '_')}.py").write_text(broken(mutation))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F823"]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_names_are_unique_and_each_says_what_it_breaks() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names)
    assert all(mutation.breaks and "\n" not in mutation.breaks for mutation in MUTATIONS)
