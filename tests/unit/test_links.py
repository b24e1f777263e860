"""Every relative link of every page leads somewhere, by the rules of a code host.

Sphinx checks `docs/` with its own rules; here are those by which GitHub makes anchors, for all
Markdown files. Images count, too.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Text of another project, whose links are its own.
SEED = ROOT / "tests" / "seed"
FENCE = re.compile(r"^(```+|~~~+).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
HTML = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]+)\"")
ANCHOR = re.compile(r"<\w+\b[^>]*?\b(?:id|name)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6} +(.+?) *#* *$", re.MULTILINE)


def pages() -> list[Path]:
    hidden = (path for path in ROOT.rglob("*.md") if "node_modules" not in path.parts)
    return sorted(
        path
        for path in hidden
        if SEED not in path.parents
        and not any(part.startswith(".") and part != ".github" for part in path.parts)
    )


def targets(text: str) -> list[str]:
    """Return the links of a page; what its code shows is none."""
    prose = CODE.sub("code", FENCE.sub("", text))
    return [found for rule in (LINK, REFERENCE, HTML) for found in rule.findall(prose)]


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    plain = re.sub(r"<[^>]+>", "", plain)
    plain = re.sub(r"(?<!\w)[*_]{1,3}|[*_]{1,3}(?!\w)", "", plain)
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    text, seen, found = FENCE.sub("", page.read_text()), dict[str, int](), set[str]()
    for heading in HEADING.findall(text):
        name = slug(heading)
        number = seen[name] = seen.get(name, -1) + 1
        found.add(f"{name}-{number}" if number else name)
    return frozenset(found | {*ANCHOR.findall(text)})


def fault_of(target: str, page: Path) -> str:
    """Return why a link leads nowhere, or ""."""
    if re.match(r"[a-z][a-z0-9+.-]*:|//", target):
        return ""
    path, _, fragment = unquote(target).partition("#")
    place = (page.parent / path).resolve() if path else page
    if ROOT not in (place, *place.parents):
        return f"{target}: outside the repository"
    if not place.exists() or (
        path and place.name not in {each.name for each in place.parent.iterdir()}
    ):
        return f"{target}: no such file"
    if fragment and place.suffix == ".md" and fragment not in anchors(place):
        return f"{target}: no such heading"
    return ""


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    faults = (fault_of(target, page) for target in targets(page.read_text()))
    assert list(filter(None, faults)) == []


def test_the_rules_are_those_of_the_code_host() -> None:
    assert slug("integrity.E003") == "integritye003"
    assert slug("`scan_policy`") == "scan_policy"
    assert slug("What *is* a [link](x.md)?") == "what-is-a-link"
    assert slug("Keys: A & B") == "keys-a--b"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[a](missing.md)", 1),
        ("[a](index.md#no-such-heading)", 1),
        ('![a](missing.png) <img src="missing.svg">', 2),
        ("[a](index.md) [b](https://example.org/x) `[c](missing.md)`", 0),
        ("```\n[a](missing.md)\n```", 0),
    ],
)
def test_a_link_that_leads_nowhere_is_found(text: str, faults: int) -> None:
    page = ROOT / "docs" / "tutorial.md"
    assert len([*filter(None, (fault_of(each, page) for each in targets(text)))]) == faults


def test_pages_are_found() -> None:
    names = {str(page.relative_to(ROOT)) for page in pages()}
    assert {"README.md", "CONTRIBUTING.md", "docs/index.md", "docs/on-call/index.md"} <= names


def test_the_index_leads_to_every_page_of_the_documentation() -> None:
    index = ROOT / "docs" / "index.md"
    named = {(index.parent / target).resolve() for target in targets(index.read_text())}
    documentation = {page for page in pages() if index.parent in page.parents}
    assert {page for page in documentation - named if page.parent.name != "on-call"} == {index}
