"""Generate `docs/on-call/`: the guides of the dashboard as pages, and their index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.integrity.report.guides import GUIDES, OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apps.integrity.report.guides import Guide

FOLDER = "on-call"
#: A link to another guide.
LINK = r"guide [`\1`](\1.md)"
#: Where a guide's reader finds more: kind → title, page below docs/.
MORE = {
    "behind": ("Work gently", "how-to/work-gently.md"),
    "blocked": ("What an error means", "reference/errors.md"),
    "brake": ("The brake", "how-to/find-orphans.md#the-brake"),
    "failing": ("What an error means", "reference/errors.md"),
    "kept": ("Keys that come back", "how-to/keys-that-come-back.md"),
    "orphans": ("Find and remove orphans", "how-to/find-orphans.md"),
    "restored": ("After a backup was restored", "how-to/restore-backups.md"),
    "unknown": ("Rename models, fields and aliases", "how-to/rename-models-and-aliases.md"),
    "unreachable": ("What an error means", "reference/errors.md"),
}


def pages(notice: str) -> dict[str, str]:
    """Path below docs/ → content."""
    made = {f"{kind}.md": _page(guide) for kind, guide in GUIDES.items()}
    made["index.md"] = _index()
    return {f"{FOLDER}/{name}": "\n".join((notice, *lines)) + "\n" for name, lines in made.items()}


def _index() -> Iterator[str]:
    yield "# On call: what to do about a fault\n"
    yield "`manage.py integrity status`, the dashboard's overview and the alarms name each fault by"
    yield "one of these kinds. The dashboard has the same pages, and fills in the database.\n"
    yield "| kind | what is wrong |"
    yield "|---|---|"
    for kind, guide in GUIDES.items():
        yield f"| [`{kind}`]({kind}.md) | {guide.title} |"


def _page(guide: Guide) -> Iterator[str]:
    yield f"# {guide.title}\n"
    yield f"Kind of fault: `{guide.kind}`. Words in capitals within commands stand for values.\n"
    yield "## What it means\n"
    yield f"{guide.means}\n"
    yield "## What to look at\n"
    for look in guide.look:
        yield f"- `{look.command}`: {look.tells}"
    yield "\n## What to do\n"
    for number, step in enumerate(guide.steps, start=1):
        yield f"{number}. {OTHER.sub(LINK, step)}"
    yield "\n## When it is over\n"
    yield f"{guide.over}\n"
    yield "## What is not lost meanwhile\n"
    yield guide.safe
    if more := MORE.get(guide.kind):
        yield f"\nMore: [{more[0]}](../{more[1]})."
