"""What `./run package` builds, as a package index shows it: the release workflow runs the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from deploy import package
from tests import snippets

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

ROOT = snippets.ROOT
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
#: An address that nobody has.
SERVER, REPOSITORY = "https://code.example", "somebody/something"
HOSTED = "https://docs.example/en/stable/"
TARGET = re.compile(r"\]\(([^()\s]+)\)")


class Built(NamedTuple):
    code: int
    refused: list[str]
    metadata: list[Message]


def build(folder: Path, **address: str) -> Built:
    """Run the command with this address alone, for a tag that is the version."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "DOCUMENTATION_URL")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "run", "package", "--release", f"v{VERSION}", "--output"]
    done = subprocess.run(
        [*command, str(folder)],
        cwd=ROOT,
        env=environment | address,
        capture_output=True,
        text=True,
        check=False,
    )
    files = [next(folder.glob(pattern), None) for pattern in package.PATTERNS]
    assert all(files), done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("refused: ")]
    return Built(done.returncode, lines, [package.metadata(file) for file in files if file])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    address = {"GITHUB_SERVER_URL": SERVER, "GITHUB_REPOSITORY": REPOSITORY}
    return build(tmp_path_factory.mktemp("dist"), **address, DOCUMENTATION_URL=HOSTED)


def test_each_link_of_the_description_leads_to_the_repository_at_the_tag(built: Built) -> None:
    relative = TARGET.findall((ROOT / "README.md").read_text())
    for metadata in built.metadata:
        assert metadata["Description-Content-Type"] == "text/markdown"
        targets = TARGET.findall(package.description(metadata))
        assert len(targets) == len(relative)
        ours = [target for target in targets if target.startswith(f"{SERVER}/{REPOSITORY}/")]
        assert [each for each in targets if not each.startswith("https://")] == []
        for target in ours:
            kind, tag, path = target.removeprefix(f"{SERVER}/{REPOSITORY}/").split("/", 2)
            assert tag == f"v{VERSION}"
            assert (ROOT / path.partition("#")[0]).is_file(), target
            assert kind == ("raw" if path.endswith((".svg", ".png")) else "blob")
        assert any(target.endswith((".svg", ".png")) for target in ours)


def test_the_metadata_says_who_where_and_for_whom(built: Built) -> None:
    for metadata in built.metadata:
        stated = dict(line.split(", ") for line in metadata.get_all("Project-URL", ()))
        assert stated.pop("Documentation") == HOSTED
        assert {*stated} == package.URLS - {"Documentation"}
        assert all(url.startswith(f"{SERVER}/{REPOSITORY}") for url in stated.values())
        assert metadata["Author"]
        classifiers = metadata.get_all("Classifier", ())
        assert any(each.startswith("Intended Audience") for each in classifiers)


def test_the_command_refuses_nothing_but_a_version_without_a_section(built: Built) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    missing = [
        f"refused: {each}" for each in package.tag_problems(f"v{VERSION}", VERSION, changelog)
    ]
    assert built.refused == missing
    assert built.code == bool(missing)


def test_without_an_address_it_builds_and_is_not_released(tmp_path: Path) -> None:
    built = build(tmp_path)
    assert built.code == 1
    for metadata in built.metadata:
        assert package.description(metadata).strip() == (ROOT / "README.md").read_text().strip()
        assert not metadata.get_all("Project-URL", ())
    kinds = [line.split(": ")[2].split(" ")[0] for line in built.refused if "-0" in line]
    assert kinds == ["no", "links"] * len(package.PATTERNS)
