"""docs/how-to/test-your-project.md: its snippets, run one after the other."""

from __future__ import annotations

import inspect
import unittest
from typing import Any

import pytest
from django.test import TestCase

from apps.integrity import relations, signals
from apps.integrity.relations import Catalogue
from apps.integrity.testing import CrossDatabaseTestMixin
from tests import snippets
from tests.conftest import PROJECT

GUIDE = snippets.ROOT / "docs" / "how-to" / "test-your-project.md"


def defined() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "guide"}
    for block in snippets.blocks(GUIDE, "python"):
        snippets.run(block, names)
    return names


NAMES = defined()


class TestGuide:
    @pytest.mark.parametrize("name", ["DeletedAuthors", "RolledBack"])
    def test_cases(self, name: str, committed: None) -> None:
        suite = unittest.TestLoader().loadTestsFromTestCase(NAMES[name])
        result = unittest.TestResult()
        suite.run(result)
        assert (result.testsRun, result.failures, result.errors) == (1, [], [])

    def test_fixtures(
        self, request: pytest.FixtureRequest, integrity_databases: frozenset[str]
    ) -> None:
        call(NAMES["test_posts_go_with_their_author"], request)

    @pytest.mark.parametrize("relation", NAMES["CHILDREN"])
    def test_policies(
        self, relation: str, request: pytest.FixtureRequest, integrity_databases: frozenset[str]
    ) -> None:
        call(NAMES["test_on_delete"], request, relation=relation)

    def test_no_relation_is_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        all_of_them = relations.catalogue().relations
        ours = tuple(each for each in all_of_them if PROJECT.issuperset(each.child_databases))
        monkeypatch.setitem(NAMES, "catalogue", lambda: Catalogue(ours))
        NAMES["test_no_relation_is_forgotten"]()
        monkeypatch.setitem(NAMES, "catalogue", lambda: Catalogue(ours[1:]))
        with pytest.raises(AssertionError):
            NAMES["test_no_relation_is_forgotten"]()

    def test_the_plugin(self, pytestconfig: pytest.Config) -> None:
        [plugin] = NAMES["pytest_plugins"]
        assert pytestconfig.pluginmanager.has_plugin(plugin)


def call(function: Any, request: pytest.FixtureRequest, **given: Any) -> None:
    """Call a test of the guide with the fixtures that it names."""
    wanted = inspect.signature(function).parameters.keys() - given.keys()
    function(**given, **{name: request.getfixturevalue(name) for name in wanted})


class CommitHooks(CrossDatabaseTestMixin, TestCase):
    def test_signals_after_a_commit(self) -> None:
        heard: list[tuple[str, ...]] = []

        def hear(keys: tuple[str, ...], **_: object) -> None:
            heard.append(keys)

        signals.deletion_recorded.connect(hear)
        self.addCleanup(signals.deletion_recorded.disconnect, hear)
        for execute in (False, True):
            user = NAMES["new_user"]()
            key = str(user.pk)
            with self.captureOnCommitCallbacks(execute=execute):
                user.delete()
            assert heard == ([(key,)] if execute else [])
