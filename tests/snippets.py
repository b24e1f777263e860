"""The fenced blocks of Markdown pages, and how they are run.

A block that tests/integration/test_snippets.py does not run has a mark above it, as a comment: who
runs it (`<!-- run by tests/acceptance/test_docs.py -->`), or why nobody does
(`<!-- not run: reason -->`). A mark in a page's first line is for all of its blocks.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import _state
from django.contrib.admin import site
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.dispatch import Signal

from apps.integrity import signals

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
#: The name under which adopters know the product, and its name here.
SHIPPED, HERE = "crossdb_integrity", "apps.integrity"

SIGNALS = (
    *(pre_save, post_save, pre_delete, post_delete),
    *(each for each in vars(signals).values() if isinstance(each, Signal)),
)

FENCE = re.compile(
    r"(?:^<!-- (?P<mark>run by|not run:) (?P<why>[^>]+) -->\n\n?)?"
    r"^(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block, and who runs it or why nobody does."""

    page: str
    line: int
    heading: str
    language: str
    text: str
    run_by: str = ""
    not_run: str = ""

    @property
    def here(self) -> bool:
        """Whether it is to be run where its page is."""
        return not (self.run_by or self.not_run)

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """The page's blocks in these languages, or all."""
    text = page.read_text()
    mark = re.match(r"<!-- run by (.+) -->\n", text)
    whole = mark[1] if mark else ""
    return [
        Block(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, found.start("fence")) + 1,
            heading=_heading(text[: found.start()]),
            language=found["language"].strip(),
            text=found["text"],
            run_by=found["why"] if found["mark"] == "run by" else whole,
            not_run=found["why"] if found["mark"] == "not run:" else "",
        )
        for found in FENCE.finditer(text)
        if not languages or found["language"].strip() in languages
    ]


def _heading(above: str) -> str:
    return ["", *re.findall(r"^#+ (.+)$", FENCE.sub("", above), re.MULTILINE)][-1]


def run(block: Block, names: dict[str, Any]) -> None:
    """Run Python among those names; a traceback shows the page and its line."""
    source = "\n" * block.line + block.text.replace(SHIPPED, HERE)
    exec(compile(source, block.page, "exec"), names)  # noqa: S102


def with_line(block: Block, line: str) -> Block:
    """The block, corrected by a line before it."""
    return replace(block, text=f"{line}\n{block.text}")


@contextmanager
def undone() -> Iterator[None]:
    """Afterwards the project hears the signals, and has the admin and tasks, that it had before."""
    finalizers = set(_state._on_app_finalizers)
    tasks = {app: set(app._tasks) for app in _state._get_active_apps()}
    before = {signal: signal.receivers[:] for signal in SIGNALS}
    admins = dict(site._registry)
    try:
        yield
    finally:
        site._registry = admins
        _state._on_app_finalizers &= finalizers
        for app, names in tasks.items():
            for name in app._tasks.keys() - names:
                del app._tasks[name]
        for signal, receivers in before.items():
            signal.receivers = receivers
            signal.sender_receivers_cache.clear()


class Command(NamedTuple):
    """What is typed, the lines that it is shown to print, and its exit code where that is shown."""

    line: str
    output: tuple[str, ...]
    code: int | None

    def variants(self) -> Iterator[str]:
        """Without and with what stands in brackets."""
        yield re.sub(r"\[.*?\]", "", self.line)
        if "[" in self.line:
            yield re.sub(r"[\[\]]", "", self.line)

    def may_end(self, code: int) -> bool:
        """As shown; where nothing is shown, clean, with findings, or with work left to do."""
        return code in {0, 3, 4} if self.code is None else code == self.code


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block: after `$` among their output (console), or a line each (sh)."""
    if block.language == "sh":
        yield from (Command(line, (), None) for line in block.text.splitlines() if line.strip())
        return
    found: list[Command] = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, *output = part.rstrip().splitlines()
        if line == "echo $?":
            found[-1] = found[-1]._replace(code=int(output[0]))
        else:
            found.append(Command(line, tuple(output), None))
    yield from found


def missing(output: tuple[str, ...], printed: str) -> str:
    """The first line shown that was not printed after the others, or ""; `…` is anything."""
    printed_lines = iter(line.rstrip() for line in printed.splitlines())
    for line in output:
        wanted = re.compile(".*".join(map(re.escape, line.rstrip().split("…"))))
        if not any(wanted.fullmatch(each) for each in printed_lines):
            return line
    return ""
