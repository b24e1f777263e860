"""CONTRIBUTING.md and the architecture page name what exists, and all of the top level."""

from __future__ import annotations

import re

import pytest

from tests import snippets
from tests.unit.test_writers import WRITERS

ROOT = snippets.ROOT
PRODUCT = ROOT / "apps" / "integrity"
ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"
HEADING = "## Where a change belongs\n"
#: Entries of the top level that are no place for a change.
WITHOUT_A_ROW = {"__init__", "__pycache__", "py"}
#: Inline code in the section and on the page that is not a path.
WORDS = {"healthz", "metrics", "doctor", "Relation", "CrossDatabaseAdminMixin", "Source"}
WORDS |= {"cascade_finished", "apps/integrity", ".py", "pre_delete", "lint-imports", "record()"}


def section() -> str:
    """Return the text of the map, up to the next heading of its level."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return text.partition(HEADING)[2].partition("\n## ")[0]


def paths() -> list[str]:
    """Return the inline code of the section and of the page that names files or folders."""
    code = dict.fromkeys(re.findall(r"`([^`]+)`", section() + ARCHITECTURE.read_text()))
    known = {*WORDS, *WRITERS}
    return [word for word in code if word not in known and not re.search(r"[ ()]", word)]


def rows() -> list[str]:
    """Return the first cells of the table of rooms."""
    rooms = ARCHITECTURE.read_text().partition("\n## Rooms\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", rooms, re.MULTILINE)


@pytest.mark.parametrize("path", paths())
def test_each_path_exists(path: str) -> None:
    inside = PRODUCT / path
    places = (inside, inside.with_suffix(".py"), ROOT / path)
    assert any(place.exists() for place in places), (
        f"{path}: update CONTRIBUTING.md or the architecture page"
    )


def test_each_entry_of_the_top_level_is_in_the_map_once() -> None:
    entries = {entry.name.partition(".")[0] for entry in PRODUCT.iterdir()} - WITHOUT_A_ROW
    assert sorted(rows()) == sorted(entries)


def test_the_map_names_ten_typical_changes() -> None:
    changes = section().partition("| Change | Files |")[2]
    assert len(re.findall(r"^\| [a-z]", changes, re.MULTILINE)) == 10
