"""What acceptance tests share."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.db import connections
from django.test.testcases import LiveServerThread

from apps.integrity import relations
from apps.integrity.relations import Catalogue, discovery
from tests.acceptance import chromium, newcomer, window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page
    from pytest_django.fixtures import Settings

    from tests.conftest import Tune


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel. The first process of a run that needs it builds it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "wheel"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return newcomer.built(folder) or newcomer.build(folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with pytest.MonkeyPatch.context() as patch:
        # Playwright keeps an event loop in this thread; Django would refuse to query beside it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        assert window.PATH is not None
        with chromium.browser(window.PATH) as started:
            yield started
            connections.close_all()  # those opened beside the loop are not seen after it


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the relations of the sample apps, as an adopter's pages would show."""
    chosen = ("blog.", "shop.")
    found = Catalogue(tuple(r for r in relations.discover().relations if r.label[:5] in chosen))
    monkeypatch.setattr(discovery, "_known", [found])


@pytest.fixture
def site(
    committed: None,
    project: None,
    settings: Settings,
    tune: Tune,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The address of the site, served from this process."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{window.__name__}.policy"]
    settings.ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
    tune(grace_seconds=0.001, probe_seconds=0.001)
    for alias in connections:  # a browser keeps its connections, a thread of the server its own
        monkeypatch.setitem(connections[alias].settings_dict, "CONN_MAX_AGE", 0)
    thread = LiveServerThread("127.0.0.1", StaticFilesHandler, connections_override={})
    thread.daemon = True
    thread.start()
    thread.is_ready.wait(30)
    assert thread.error is None
    yield f"http://127.0.0.1:{thread.port}"
    thread.terminate()


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """A window that has seen no error and no other host when the test is over."""
    context = browser.new_context(base_url=site, viewport={"width": 1280, "height": 900})
    shown = context.new_page()
    complaints: list[str] = []
    hosts: set[str] = set()
    shown.on(
        "console", lambda said: window.note(complaints, said.type, f"{said.text} {said.location}")
    )
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    shown.set_default_timeout(15_000)
    yield shown
    context.close()
    assert complaints == []
    assert hosts == {urlsplit(site).netloc}
