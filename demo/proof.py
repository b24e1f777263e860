"""Compare the databases with the expected rows, and check the processes."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.contrib.auth.models import User
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.blog.models import Comment, Post
from apps.integrity.checks import doctor
from apps.integrity.conf import current
from apps.integrity.conf.steps import place_of
from apps.integrity.queues import celery_broker
from apps.integrity.report import status
from apps.shop.models import Order
from tests.chaos import rows
from tests.chaos.truth import CHILDREN, Problem, orphans

from . import screen
from .browser import Browser
from .failure import UnexpectedAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apps.integrity.report.rows import DatabaseRow
    from tests.chaos.truth import Rows, Truth

    from .stage import Stage

TASKS = {"integrity.dispatch", "integrity.cascade"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A claim, whether it is true, and a number that shows it."""

    claim: str
    held: bool
    figure: int | float | None = None

    def document(self) -> dict[str, Any]:
        """Return the proof for JSON."""
        return asdict(self)


def remaining(keys: Iterable[int]) -> dict[str, int]:
    """Return how many rows of these accounts each child database still has."""
    wanted = list(keys)
    posts = Post.objects.filter(author_id__in=wanted).count()
    comments = Comment.objects.filter(author_id__in=wanted).count()
    return {
        "blog_db": posts + comments,
        "shop_db": Order.objects.filter(customer_id__in=wanted).count(),
    }


def backlogs() -> dict[str, DatabaseRow]:
    """Return the status of each child database, and of the step, by alias or place."""
    return {row["database"]: row for row in status.collect_status()["databases"]}


def stored() -> Rows:
    """Return all rows, except the admin's account."""
    actual = rows.stored()
    for key in User.objects.filter(is_superuser=True).values_list("pk", flat=True):
        del actual["user"][key]
    return actual


def of_rows(truth: Truth, actual: Rows) -> list[Proof]:
    """Check that deleted accounts have no rows, and that all other rows still exist."""
    wrong = [*truth.differences(actual), *orphans(actual)]
    accounts_wrong = any(row.kind == "user" for row in wrong)
    content_wrong = Counter(row.problem for row in wrong if row.kind != "user")
    left = content_wrong[Problem.LEFT] + content_wrong[Problem.ORPHAN]
    lost = content_wrong[Problem.GONE]
    return [
        Proof(claim="no row of a deleted account is left", held=left == 0, figure=left),
        Proof(claim="no row of an existing account is lost", held=lost == 0, figure=lost),
        Proof(
            claim="each existing account has exactly the rows it had",
            held=not content_wrong,
            figure=sum(len(actual[kind]) for kind in CHILDREN),
        ),
        Proof(
            claim="every account that was not deleted exists",
            held=not accounts_wrong,
            figure=len(actual["user"]),
        ),
    ]


def of_log() -> Proof:
    """Check that no cascade is open or blocked."""
    open_ = sum(row["backlog"] for row in backlogs().values())
    return Proof(claim="every deletion is cascaded", held=open_ == 0, figure=open_)


def tasks_seen(stage: Stage) -> list[dict[str, Any]]:
    """Return the tasks that Flower shows, with their number."""
    shown = (
        (task["name"], task["args"] or "()", task["kwargs"] or "{}")
        for task in stage.flower_tasks()
        if task["name"]  # it has no name if Flower missed the event that it was sent
    )
    return [
        {"name": name, "args": args, "kwargs": kwargs, "times": times}
        for (name, args, kwargs), times in sorted(Counter(shown).items())
    ]


def of_tasks(seen: Iterable[dict[str, Any]]) -> Proof:
    """Check that Flower shows both tasks, and only aliases as arguments."""
    shown = list(seen)
    harmless = all(_only_aliases(task["args"]) and _only_aliases(task["kwargs"]) for task in shown)
    return Proof(
        claim="Flower shows the tasks, and only aliases as arguments",
        held=harmless and {task["name"] for task in shown} >= TASKS,
        figure=sum(task["times"] for task in shown),
    )


def _only_aliases(text: str) -> bool:
    """Return whether the printed arguments are only aliases of databases, or places of steps."""
    values = ast.literal_eval(text)
    given = values.values() if isinstance(values, dict) else values
    return set(given) <= {*settings.DATABASES, *map(place_of, current().steps or ())}


def of_machines(stage: Stage) -> list[Proof]:
    """Check `integrity doctor`, the health check and the metrics."""
    checks = [check for check in doctor.examine(celery_broker.ask()) if check.kind != "scan"]
    for check in checks:
        if not check.ok:
            screen.say(f"{check.name}: {check.detail}")
    return [
        Proof(
            claim="integrity doctor finds every database, process and queue",
            held=all(check.ok for check in checks),
            figure=len(checks),
        ),
        Proof(claim="/integrity/healthz and /integrity/metrics respond", held=_answers(stage)),
    ]


def _answers(stage: Stage) -> bool:
    browser = Browser(stage.web_address)
    try:
        browser.get("/integrity/healthz")
        return "integrity_cascade_backlog" in browser.get("/integrity/metrics").body
    except UnexpectedAnswer:
        return False


def of_passwords(stage: Stage) -> list[Proof]:
    """Check that Flower and the broker require a password.

    A broker URL without a password is not the demo's own broker, and is not checked.
    """
    proofs = [Proof(claim="Flower requires a password", held=_flower_refuses(stage))]
    if urlsplit(settings.CELERY_BROKER_URL).password:
        proofs.append(Proof(claim="the broker requires a password", held=_broker_refuses()))
    return proofs


def _flower_refuses(stage: Stage) -> bool:
    try:
        for path in ("/tasks", "/api/tasks"):
            Browser(stage.flower_address).get(path, expect=401)
    except UnexpectedAnswer:
        return False
    return True


def _broker_refuses() -> bool:
    known = urlsplit(settings.CELERY_BROKER_URL)
    anonymous = redis.Redis(
        host=known.hostname or "",
        port=known.port or 6379,
        retry=Retry(NoBackoff(), 0),  # by default it tries ten times
    )
    try:
        anonymous.ping()
    except redis.AuthenticationError:
        return True
    finally:
        anonymous.close()
    return False
