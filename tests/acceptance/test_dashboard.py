"""The dashboard in a real browser, under a content security policy that allows nothing inline."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.db import connections
from django.test import Client
from django.test.testcases import LiveServerThread
from django.urls import reverse
from playwright.sync_api import expect

from apps.blog.models import Comment, Post
from apps.integrity import cascade, relations, scan
from apps.integrity.cascade import verification
from apps.integrity.control import actions, heartbeats
from apps.integrity.models import Cascade
from apps.integrity.queues import celery, dispatch, notifier
from apps.integrity.relations import Catalogue, discovery
from apps.integrity.signals import deletion_recorded
from apps.shop.models import Order
from sandbox.processes import eventually
from tests.acceptance import chromium, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from django.http import HttpRequest, HttpResponse
    from playwright.sync_api import Browser, Page
    from pytest_django.fixtures import Settings

    from tests.conftest import Tune

PATH = chromium.found()
pytestmark = [
    pytest.mark.skipif(PATH is None, reason=chromium.MISSING),
    pytest.mark.usefixtures("committed", "project"),
]
PASSWORD = "correct horse"
SELF = ("script-src", "style-src", "img-src", "connect-src", "form-action")
expect.set_options(timeout=15_000)  # three times what the page takes to refresh itself
POLICY = "; ".join(["default-src 'none'", *(f"{kind} 'self'" for kind in SELF)])
DATABASES = ("blog_db", "shop_db")
#: Violations of axe that count; what the admin's own frame has is not ours.
SERIOUS = {"serious", "critical"}


def policy(get_response: Callable[[HttpRequest], HttpResponse]) -> object:
    """Middleware: what an adopter's site may demand of every page."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return answer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with pytest.MonkeyPatch.context() as patch:
        # Playwright keeps an event loop in this thread; Django would refuse to query beside it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        assert PATH is not None
        with chromium.browser(PATH) as started:
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
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.policy"]
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
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
    window = context.new_page()
    complaints: list[str] = []
    hosts: set[str] = set()
    window.on("console", lambda said: _note(complaints, said.type, f"{said.text} {said.location}"))
    window.on("pageerror", lambda error: complaints.append(str(error)))
    window.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    window.set_default_timeout(15_000)
    yield window
    context.close()
    assert complaints == []
    assert hosts == {urlsplit(site).netloc}


def _note(complaints: list[str], kind: str, text: str) -> None:
    if kind in {"error", "warning"} and "favicon.ico" not in text:
        complaints.append(text)


def staff(name: str, *permissions: str) -> User:
    """A staff member with those permissions of the dashboard; without any, a superuser."""
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    codenames = [f"{each}_dashboard" for each in permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    user.is_superuser = not permissions
    user.save()
    return user


def log_in(page: Page, user: User) -> None:
    """Log in with the form."""
    page.goto(reverse("admin:login"))
    page.get_by_label("Username").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**" + reverse("admin:index"))


def logged_in(page: Page, user: User) -> None:
    """Give the browser a session of the user, without the form and its two pages."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"]
    page.context.add_cookies(
        [{"name": cookie.key, "value": cookie.value, "domain": "127.0.0.1", "path": "/"}]
    )


def author(name: str) -> User:
    user = User.objects.create(username=name)
    posts = [Post.objects.create(title="t", content="c", author=user) for _ in range(12)]
    for _ in range(31):
        Comment.objects.create(post=posts[0], author=user, content="c")
    for n in range(4):
        Order.objects.create(order_number=f"{name}-{n}", customer=user, total=1)
    return user


def work(*databases: str, prove: bool = False) -> None:
    """What the workers would do now."""
    heartbeats.record("beat", using="default")
    dispatch.sweep_all()
    for database in databases or DATABASES:
        cascade.drain(database)
        if prove:
            verification.verify(database)


def scanned() -> None:
    for database in DATABASES:
        scan.scan(database)


def overview(page: Page) -> None:
    page.goto(reverse("admin:integrity_dashboard_changelist"))


def refresh(page: Page) -> None:
    """Let the page refresh itself now, as when its window is shown again."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def card(page: Page, database: str) -> object:
    return page.locator(f"[data-database={database}]")


def figure(page: Page, database: str, name: str) -> object:
    row = card(page, database).locator("dl > div", has_text=name)
    return row.locator("dd")


def accessible(page: Page) -> None:
    """axe-core finds nothing serious in what is ours."""
    found = Axe().run(page, context="#content").response["violations"]
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in SERIOUS
    ]
    assert serious == []


def test_from_the_delete_page_to_the_receipt(page: Page) -> None:
    ann = author("ann")
    scanned()
    work()
    log_in(page, staff("root"))
    page.goto(reverse("admin:auth_user_delete", args=[ann.pk]))
    expect(page.get_by_text("blog_db: 31 comments, 12 posts (CASCADE)")).to_be_visible()
    expect(page.get_by_text("shop_db: 4 orders (CASCADE)")).to_be_visible()
    page.get_by_role("button", name="Yes, I").click()
    expect(page.get_by_text("in blog_db and shop_db follows")).to_be_visible()
    overview(page)
    expect(figure(page, "blog_db", "Backlog")).to_have_text("1")
    expect(card(page, "blog_db").get_by_text("working")).to_be_visible()
    # No click from here: the page keeps itself fresh.
    work(prove=True)
    expect(figure(page, "blog_db", "Backlog")).to_have_text("0")
    expect(card(page, "blog_db").get_by_text("idle")).to_be_visible()
    verdict = page.get_by_role("status")
    expect(verdict).to_contain_text("All deletions are applied and verified; no orphan that a")
    page.get_by_role("link", name="Deletions").first.click()
    page.get_by_role("row", name="auth.User").get_by_role("link").click()
    row = page.get_by_role("row", name="shop.Order.customer")
    expect(row).to_contain_text("4")
    expect(row).to_contain_text("verified")
    page.get_by_role("link", name="Receipt").click()
    expect(page.get_by_text("Counted again at")).to_be_visible()
    accessible(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as JSON").click()
    assert download.value.suggested_filename.endswith(".json")


def test_real_workers_move_the_figures(
    page: Page, tune: Tune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From a click to the proof, by the site's own notification and a worker's own process."""
    site_notifier = notifier.Notifier(celery.publish_cascade)
    deletion_recorded.connect(woken := lambda **_: site_notifier.notify(*DATABASES))
    env = workers.environment("tests.chaos.storm.settings")  # verified after three seconds
    worker = workers.worker(tmp_path, "dashboard@test", "--concurrency=2", env=env)
    ann = author("ann")
    scanned()
    logged_in(page, staff("root"))
    worker.start()
    try:
        page.goto(reverse("admin:auth_user_delete", args=[ann.pk]))
        page.get_by_role("button", name="Yes, I").click()
        overview(page)
        # Nothing is clicked from here.
        for database in DATABASES:
            expect(figure(page, database, "Backlog")).to_have_text("0", timeout=60_000)
        assert eventually(lambda: not Cascade.objects.exclude(state="done").exists(), timeout=60)
        assert not Post.objects.exists()
        assert eventually(_proven, timeout=60, pause=1)
        verdict = page.get_by_role("status")
        expect(verdict).to_contain_text("All deletions are applied and verified", timeout=60_000)
        expect(page.get_by_text("dashboard@test")).to_be_visible()
    finally:
        deletion_recorded.disconnect(woken)
        site_notifier.close(1)
        worker.stop()


def _proven() -> bool:
    """What beat's tick of maintenance leads to."""
    celery.maintain.delay()
    return not Cascade.objects.exclude(state="verified").exists()


def test_a_database_goes_away_and_comes_back(page: Page, refuse: Callable[[str], object]) -> None:
    ann = author("ann")
    logged_in(page, staff("vera", "view"))
    with refuse("blog_db"):
        ann.delete()
        work()
        overview(page)
        expect(card(page, "blog_db").get_by_text("unreachable")).to_be_visible()
        expect(card(page, "blog_db")).to_contain_text("Connection refused")
        expect(page.get_by_role("status")).to_contain_text("blog_db is")
        expect(page.get_by_role("status")).to_contain_text("behind: Connection refused")
        expect(figure(page, "shop_db", "Backlog")).to_have_text("0")
        accessible(page)
    work()
    refresh(page)
    expect(card(page, "blog_db").get_by_text("idle")).to_be_visible()
    expect(figure(page, "blog_db", "Backlog")).to_have_text("0")


def test_retry_pause_and_resume(page: Page) -> None:
    author("ann").delete()
    dispatch.sweep_all()
    Cascade.objects.filter(database="blog_db").update(
        state="blocked", attempts=8, reason="IntegrityError: a row is in use"
    )
    logged_in(page, staff("otto", "view", "operate"))
    overview(page)
    blog = card(page, "blog_db")
    expect(blog.get_by_text("blocked", exact=True)).to_be_visible()
    expect(blog).to_contain_text("IntegrityError: a row is in use")
    blog.get_by_role("button", name="Retry blocked").click()
    expect(page.get_by_text("1 deletion will be tried again in blog_db.")).to_be_visible()
    work()
    refresh(page)
    expect(card(page, "blog_db").get_by_text("idle")).to_be_visible()
    # With the keyboard alone.
    pause = blog.locator("summary")
    pause.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("index build")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Database blog_db is paused")).to_be_visible()
    expect(card(page, "blog_db")).to_contain_text("paused: index build")
    accessible(page)
    card(page, "blog_db").get_by_role("button", name="Resume").click()
    expect(card(page, "blog_db").get_by_text("idle")).to_be_visible()
    page.goto(reverse("admin:integrity_dashboard_audit"))
    for verb in ("retry", "pause", "resume"):
        expect(page.get_by_role("row", name=f"otto {verb}")).to_be_visible()
    accessible(page)


def test_scan_preview_and_apply(page: Page) -> None:
    for key in (9_001, 9_002):
        Post.objects.create(title="t", content="c", author_id=key)
    logged_in(page, staff("rita", "view", "operate", "repair"))
    page.goto(reverse("admin:integrity_dashboard_relations"))
    accessible(page)
    page.get_by_role("button", name="blog.Post.author in blog_db").click()
    expect(page.get_by_text("2 missing parents")).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="of blog.Post.author").click()
    expect(page.get_by_role("row", name="blog.Post.author blog_db CASCADE 2")).to_be_visible()
    accessible(page)
    assert Post.objects.count() == 2
    page.get_by_label("to confirm").fill("blog.Post")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("This is not the name of the relation")).to_be_visible()
    page.get_by_label("to confirm").fill("blog.Post.author")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("2 confirmed")).to_be_visible()
    work()
    assert Post.objects.count() == 0
    expect(page.get_by_text("No missing parent waits for repair")).to_be_visible()


def test_a_viewer_looks_and_is_refused(page: Page, site: str) -> None:
    author("ann").delete()
    logged_in(page, staff("vera", "view"))
    overview(page)
    expect(card(page, "blog_db")).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(page.locator(".ix-card summary, .ix-card form")).to_have_count(0)
    cookies = {each["name"]: each["value"] for each in page.context.cookies()}
    answer = page.request.post(
        reverse("admin:integrity_dashboard_pause"),
        form={
            "database": "blog_db",
            "reason": "mine",
            "csrfmiddlewaretoken": cookies["csrftoken"],
        },
        headers={"Referer": site},
    )
    assert answer.status == 403
    assert not actions.paused_reason("blog_db", using="default")


def test_every_page_is_accessible_in_the_dark_and_on_a_phone(page: Page) -> None:
    author("ann").delete()
    work()
    Post.objects.create(title="t", content="c", author_id=9_001)
    scanned()
    logged_in(page, staff("root"))
    names = ("changelist", "deletions", "relations", "scans", "audit")
    for name in names:
        page.goto(reverse(f"admin:integrity_dashboard_{name}"))
        for scheme, width in (("dark", 1280), ("light", 390)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            # Colours that still change are those of neither scheme.
            page.evaluate("document.getAnimations().forEach((change) => change.finish())")
            accessible(page)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (name, wide)


def test_without_javascript_all_is_there(browser: Browser, site: str) -> None:
    author("ann").delete()
    context = browser.new_context(base_url=site, java_script_enabled=False)
    window = context.new_page()
    log_in(window, staff("otto", "view", "operate"))
    overview(window)
    expect(card(window, "blog_db")).to_contain_text("Oldest pending")
    card(window, "blog_db").locator("summary").click()
    window.get_by_label("Why?").first.fill("index build")
    window.get_by_role("button", name="Pause blog_db", exact=True).click()
    expect(window.get_by_text("Database blog_db is paused")).to_be_visible()
    context.close()
