"""The workflows, the hosting of the documentation, and what a tag must have to be released."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy.package import tag_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS: dict[str, dict[Any, Any]] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
RELEASE = WORKFLOWS["release"]
COMMANDS = runpy.run_path(str(ROOT / "run"))["COMMANDS"]
#: What a job may do with the repository and the index beyond reading.
RIGHTS = {
    "ci": {"contents": "read"},
    "build": {},
    "attest": {"id-token": "write", "attestations": "write"},
    "publish": {"id-token": "write"},
}
CHANGELOG = """
## Unreleased

- Something new.

## 1.2.0 - 2026-12-01

### Added

- Something.

## 1.1.0 - 2026-11-01

Nothing.
"""


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_reads_and_uses_pinned_actions_and_known_commands(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"(actions|pypa)/[\w-]+@(v\d+|release/v\d+)", step["uses"])
        elif not step["run"].startswith("sudo apt-get "):
            assert step["run"].split()[0] == "./run"
            assert step["run"].split()[1] in COMMANDS
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_only_what_attests_and_publishes_has_an_identity_and_it_runs_nothing_of_ours() -> None:
    jobs = RELEASE["jobs"]
    assert {name: job.get("permissions", {}) for name, job in jobs.items()} == RIGHTS
    for name in ("attest", "publish"):
        assert [step for step in jobs[name]["steps"] if "run" in step] == []


def test_a_tag_is_published_after_the_tests_the_checks_and_the_attestation() -> None:
    jobs = RELEASE["jobs"]
    assert RELEASE[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert "workflow_call" in WORKFLOWS["ci"][True]
    [command] = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    assert command == './run package --release "$GITHUB_REF_NAME"'
    assert jobs["attest"]["needs"] == ["ci", "build"]
    assert jobs["publish"]["needs"] == "attest"


@pytest.mark.parametrize(
    ("tag", "version", "said"),
    [
        ("v1.2.0", "1.2.0", []),
        ("v1.2.1", "1.2.0", ["the tag is v1.2.1, the version in pyproject.toml 1.2.0"]),
        ("1.2.0", "1.2.0", ["the tag is 1.2.0, the version in pyproject.toml 1.2.0"]),
        ("v1.1.0", "1.1.0", ["CHANGELOG.md has no entries under '## 1.1.0'"]),
        ("v1.2", "1.2", ["CHANGELOG.md has no entries under '## 1.2'"]),
        ("v1.3.0", "1.3.0", ["CHANGELOG.md has no entries under '## 1.3.0'"]),
    ],
)
def test_a_release_has_its_version_as_tag_and_in_the_changelog(
    tag: str, version: str, said: list[str]
) -> None:
    assert list(tag_problems(tag, version, CHANGELOG)) == said


def test_the_host_of_the_documentation_builds_it_strictly_from_locked_packages() -> None:
    hosting = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())
    assert hosting["sphinx"]["fail_on_warning"] is True
    assert (ROOT / hosting["sphinx"]["configuration"]).is_file()
    [lock] = [each["requirements"] for each in hosting["python"]["install"]]
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.MULTILINE))
    assert {"sphinx", "furo", "myst-parser"} <= locked
