"""Hatchling's metadata hook: what a package index shows of README.md, and the project's URLs.

An index has no repository beside the README, so its relative links become absolute. The address of
the repository comes from the environment of the release workflow, where the code host sets it. A
build elsewhere leaves the links relative and names no URLs.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: `](target)` of a link or an image, with what tells the two apart.
LINK = re.compile(r"(?P<image>!?)(?P<text>\[[^\[\]]*\])\((?P<target>[^()\s]+)\)")
ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class CustomMetadataHook(MetadataHookInterface):
    """Fills in `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the fields that pyproject.toml names as dynamic."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        repository, tag = address(os.environ), f"v{metadata['version']}"
        if repository:
            text = with_absolute_links(text, repository, tag)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls(repository, tag) if repository else {}
        if documentation := os.environ.get("DOCUMENTATION_URL"):
            metadata["urls"]["Documentation"] = documentation


def address(environment: os._Environ[str]) -> str:
    """Return the address of the repository, or an empty string where nothing states it."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")
    parts = [environment.get(name, "") for name in names]
    return "/".join(parts) if all(parts) else ""


def with_absolute_links(text: str, repository: str, tag: str) -> str:
    """Return the Markdown with links and images that lead to the repository at this tag."""

    def absolute(found: re.Match[str]) -> str:
        target = found["target"]
        if ABSOLUTE.match(target):
            return found[0]
        if target.startswith("#"):
            target = f"README.md{target}"
        kind = "raw" if found["image"] else "blob"
        return f"{found['image']}{found['text']}({repository}/{kind}/{tag}/{target})"

    return LINK.sub(absolute, text)


def urls(repository: str, tag: str) -> dict[str, str]:
    """Return the links that an index shows beside the description."""
    files = f"{repository}/blob/{tag}"
    return {
        "Homepage": repository,
        "Documentation": f"{files}/docs/index.md",
        "Changelog": f"{files}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Source": f"{repository}/tree/{tag}",
    }
