"""`./run package [--release TAG]`: build the sdist and the wheel in dist/, and check them.

With --release, also refuse what must not be published: a tag that is not the version, a version
without a section in CHANGELOG.md, a description with links that lead nowhere outside the
repository. The address of the repository comes from GITHUB_SERVER_URL and GITHUB_REPOSITORY, which
the code host sets; DOCUMENTATION_URL, if set, is where the documentation is hosted.
"""

# ruff: noqa: S603 - it starts the packaging tools

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "dist"
PATTERNS = ("*.tar.gz", "*.whl")
URLS = {"Homepage", "Documentation", "Changelog", "Issues", "Source"}


def main() -> int:
    """Build, check, and print what was built. Return the exit code."""
    parser = argparse.ArgumentParser(prog="./run package", description="Build and check dist/.")
    parser.add_argument("--release", metavar="TAG", help="refuse what must not be published")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    options = parser.parse_args()
    built = build(options.output)
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built], check=True)
    found: list[str] = []
    if options.release is not None:
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        for file in built:
            found += [f"{file.name}: {line}" for line in metadata_problems(metadata(file))]
        found += tag_problems(options.release, metadata(built[0])["Version"], changelog)
    for line in found:
        sys.stderr.write(f"refused: {line}\n")
    return 1 if found else 0


def build(folder: Path) -> list[Path]:
    """Build the sdist, and the wheel from it, with the locked tools; return both."""
    for pattern in PATTERNS:
        for old in folder.glob(pattern):
            old.unlink()
    command = ("-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    subprocess.run([sys.executable, *command], check=True)
    return [path for pattern in PATTERNS for path in folder.glob(pattern)]


def metadata(file: Path) -> Message:
    """Return the metadata of an sdist or a wheel."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            [name] = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
            return message_from_bytes(wheel.read(name))
    with tarfile.open(file) as sdist:
        member = sdist.extractfile(f"{file.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert member is not None
        return message_from_bytes(member.read())


def metadata_problems(package: Message) -> Iterator[str]:
    """Yield what an index would show wrong."""
    stated = {url.partition(", ")[0] for url in package.get_all("Project-URL", ())}
    if missing := URLS - stated:
        yield f"no URL for {', '.join(sorted(missing))}: is GITHUB_REPOSITORY set?"
    relative = [link for link in links(description(package)) if not link.startswith("https://")]
    if relative:
        yield f"links that are not absolute: {', '.join(relative)}"


def description(package: Message) -> str:
    """Return the description as UTF-8 text."""
    body = package.get_payload(decode=True)
    assert isinstance(body, bytes)
    return body.decode()


def links(markdown: str) -> list[str]:
    """Return the targets of links and images, as an index renders them; not its own anchors."""
    from readme_renderer.markdown import render

    html = render(markdown)
    if html is None:
        raise RuntimeError("the description cannot be rendered")
    collector = _Links()
    collector.feed(html)
    return [each for each in collector.targets if each.removeprefix("#") not in collector.ids]


class _Links(HTMLParser):
    """Collects `href` and `src`, and the `id` of each heading."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what one tag names."""
        self.targets += [value or "" for name, value in attrs if name in {"href", "src"}]
        self.ids |= {value or "" for name, value in attrs if name == "id"}


def tag_problems(tag: str, version: str, changelog: str) -> Iterator[str]:
    """Yield why this tag is not a release of this version."""
    if tag != f"v{version}":
        yield f"the tag is {tag}, the version in pyproject.toml {version}"
    section = re.search(
        rf"^## \[?{re.escape(version)}\]?(?: [^\n]*)?\n(?P<body>.*?)(?=^## |\Z)",
        changelog,
        re.MULTILINE | re.DOTALL,
    )
    if not (section and re.search(r"^- ", section["body"], re.MULTILINE)):
        yield f"CHANGELOG.md has no entries under '## {version}'"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
