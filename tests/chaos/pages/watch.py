"""Three threads that look each second: a browser at the page, and clients of two documents."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Error as BrowserError

from sandbox.environment import WEB, as_role
from sandbox.project import ROOT
from tests.acceptance import chromium

from . import TOKEN
from .seen import HEALTH, PAGE, STATUS, Line, Look, of_status, tells_since

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from playwright.sync_api import Page

EVERY_SECONDS = 1.0
#: A page that takes longer has not come.
PATIENCE_SECONDS = 9.0
OVERVIEW = "/admin/integrity/dashboard/"
SHOWN = """() => ({
  verdict: (document.querySelector('#ix-verdict') ?? document.querySelector('#content'))?.innerText,
  cards: [...document.querySelectorAll('.ix-reason')].map(each => each.innerText),
  lines: [...document.querySelectorAll('#ix-faults [data-fault]')].map(each => ({
    kind: each.dataset.fault,
    subject: each.dataset.subject,
    text: each.innerText,
    guide: each.querySelector('a[href*="guide"]')?.getAttribute('href') ?? '',
  })),
})"""


class Watch:
    """Looks until the block ends; `looks` grows meanwhile."""

    def __init__(self, address: str, browser: str, log: Path) -> None:
        self.looks: list[Look] = []
        self._address, self._browser, self._log = address, browser, log
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=run.__name__)
            for run in (self._page, self._status, self._health)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> bool:
        """Whether all of them still look."""
        return all(thread.is_alive() for thread in self._threads)

    def _each_second(self, where: str, look: Callable[[], tuple[tuple[Line, ...], str]]) -> None:
        while not self._over.is_set():
            begin = time.monotonic()
            try:
                lines, said = look()
                seen = Look(where=where, at=time.monotonic(), lines=lines, said=said)
            except (OSError, ValueError, BrowserError) as error:
                said = f"no answer: {str(error).splitlines()[:1]}"
                seen = Look(where=where, at=time.monotonic(), lines=(), said=said, answered=False)
            self.looks.append(seen)
            self._over.wait(max(0.0, begin + EVERY_SECONDS - time.monotonic()))

    def _page(self) -> None:
        with chromium.browser(self._browser) as started:
            window = started.new_page(base_url=self._address)
            window.set_default_timeout(PATIENCE_SECONDS * 1_000)
            self._each_second(PAGE, lambda: _page(window))

    def _status(self) -> None:
        with (
            self._log.open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.pages.status"],
                env=as_role(WEB),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            self._each_second(STATUS, lambda: of_status(_answer(process)))
            process.kill()

    def _health(self) -> None:
        self._each_second(HEALTH, lambda: _health(self._address))


def _page(window: Page) -> tuple[tuple[Line, ...], str]:
    answer = window.goto(OVERVIEW)
    found: dict[str, Any] = window.evaluate(SHOWN)
    status = answer.status if answer else 0
    if status != 200:
        raise ValueError(f"{status}: {found['verdict']}")
    said = " / ".join([found["verdict"] or "", *found["cards"]])
    return tuple(map(_line, found["lines"])), " ".join(said.split())


def _line(shown: Mapping[str, str]) -> Line:
    """The page's line has all in one text, and a link to the guide of its kind."""
    kind, text = shown["kind"], " ".join(shown["text"].split())
    path = shown["guide"].partition("?")[0]
    guide = path if path.rstrip("/").endswith(kind) else ""
    return Line(
        kind=kind, subject=shown["subject"], text=text, remedy=guide, since=tells_since(text)
    )


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("look\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    if answer.get("error"):
        raise ValueError(answer["error"])
    return answer


def _health(address: str) -> tuple[tuple[Line, ...], str]:
    document = health(address)
    lines = (Line(kind=kind, subject="", text=kind, remedy=kind) for kind in document["failing"])
    return tuple(lines), json.dumps(document.get("databases", {}))


def health(address: str) -> dict[str, Any]:
    """Return what healthz says. Raises `OSError` where nobody serves it."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE_SECONDS)
    with closing(connection):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        connection.request("GET", "/integrity/healthz", headers=headers)
        document: dict[str, Any] = json.load(connection.getresponse())
    return document
