"""Each alert is made to fire by its condition in the databases, through a real scrape.

Its expression is evaluated here, and by promtool, too, where that is installed.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.integrity import exceptions, relations
from apps.integrity.control import actions, circuit_breaker, heartbeats
from apps.integrity.management.verbs import alerts
from apps.integrity.models import Cascade, Deletion, Heartbeat, Scan, Suspect
from apps.integrity.report.guides import GUIDES
from tests import log_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

ROOT = Path(__file__).parents[3]
ALERTS, DASHBOARD = (alerts.FILES / name for name in ("alerts.yml", "grafana.json"))
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load(ALERTS.read_text())["groups"]
    for rule in group["rules"]
}
AUTHOR = "blog.Post.author"
#: Of a Prometheus target; every expression matches on them.
TARGET = {"job": "integrity", "instance": "web"}
Samples = list[tuple[str, dict[str, str], float]]


def scrape(client: Client) -> Samples:
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(client.get("/integrity/metrics").text)
        for sample in family.samples
    ]


CLAUSE = re.compile(
    r"(?P<left>\w+) (?P<sign>==|>) (?:on \([^)]*\) (?:group_left \(\) )?)?(?P<right>.+)"
)


def firing(expression: str, samples: Samples) -> list[dict[str, str]]:
    """The labels of what the expression selects; of the forms that the alerts use."""
    if missing := re.fullmatch(r"absent\((\w+)\)", expression):
        return [] if any(name == missing[1] for name, _, _ in samples) else [{}]
    found: list[dict[str, str]] | None = None
    for clause in re.split(r" and on \([^)]*\) ", expression):
        true = _selected(clause, samples)
        found = true if found is None else [each for each in found if each in true]
    return found or []


def _selected(clause: str, samples: Samples) -> list[dict[str, str]]:
    parts = CLAUSE.fullmatch(clause)
    assert parts, f"a form that is not known here: {clause}"
    right = parts["right"].strip("()")
    factor, _, metric = right.rpartition(" * ")

    def limit(labels: dict[str, str]) -> float:
        if not metric.startswith("integrity_"):
            return float(right)
        values = [
            value
            for name, its, value in samples
            if name == metric and its.items() <= labels.items()
        ]
        return float(factor or 1) * values[0]

    return [
        labels
        for name, labels, value in samples
        if name == parts["left"]
        and (value > limit(labels) if parts["sign"] == ">" else value == limit(labels))
    ]


def _braced(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items()) + "}"


def promtool(tmp_path: Path, alert: str, samples: Samples) -> None:
    """The same by Prometheus itself: six hours of those figures, and the alert fires."""
    program = shutil.which("promtool")
    if program is None:
        return
    series = [
        {
            "series": name + _braced(labels | TARGET),
            "values": f"{'Inf' if value == float('inf') else value}x360",
        }
        for name, labels, value in samples
    ]
    firing_now = "ALERTS" + _braced({"alertname": alert, "alertstate": "firing"})
    test = {
        "rule_files": [str(ALERTS)],
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": f"count({firing_now}) > bool 0",
                        "eval_time": "5h",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [program, "test", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sound() -> None:
    for using in relations.catalogue().log_databases:
        heartbeats.record("beat", using=using)
        heartbeats.record("worker", using=using)
    for relation in relations.catalogue().relations:
        for database in relation.child_databases:
            Scan.objects.using(relation.parent_databases[0]).create(
                relation=relation.label, database=database, covers_at=timezone.now()
            )


def cascade(state: str, seconds: float = 0, database: str = "blog_db") -> None:
    moment = timezone.now() - dt.timedelta(seconds=seconds)
    log_rows.make("auth.User", [1], [database], state=state, recorded_at=moment)


def due(days: float) -> None:
    """One that was recorded nine days ago, and is due in some."""
    deadline = timezone.now() + dt.timedelta(days=days)
    cascade("pending")
    long_ago = timezone.now() - dt.timedelta(days=9)
    Cascade.objects.update(deadline=deadline, order_at=deadline, recorded_at=long_ago)
    Deletion.objects.update(deadline=deadline)


def kept() -> None:
    cascade("kept")
    Cascade.objects.update(kept_at=timezone.now())


def away() -> None:
    circuit_breaker.write_outage(
        exceptions.DatabaseUnreachable("blog_db", OSError("no")), using="default"
    )


def unseen(name: str, seconds: float) -> None:
    moment = timezone.now() - dt.timedelta(seconds=seconds)
    for using in relations.catalogue().log_databases:
        Heartbeat.objects.using(using).filter(name=name).update(seen_at=moment)


def stale() -> None:
    moment = timezone.now() - dt.timedelta(days=3)
    Scan.objects.filter(relation=AUTHOR).update(covers_at=moment)


def orphaned() -> None:
    Suspect.objects.create(parent="auth.User", relation=AUTHOR, value="1")


#: These are about scans and scrapes, not about a fault of the work.
WITHOUT_GUIDE = {"IntegrityScanStale", "IntegrityMetricsGone"}
BLOG, HERE = {"database": "blog_db"}, {"relation": AUTHOR}
#: Alert → what makes it true, and the labels that it fires with.
CONDITIONS: dict[str, tuple[Callable[[], Any], dict[str, str]]] = {
    "IntegrityBehind": (lambda: cascade("pending", 1000), BLOG),
    "IntegrityBlocked": (lambda: cascade("blocked"), BLOG),
    "IntegrityUnproven": (lambda: cascade("done", 1000), BLOG),
    "IntegrityDeadlineMissed": (lambda: due(-1), BLOG),
    "IntegrityDeadlineAtRisk": (lambda: due(1), BLOG),
    "IntegrityKept": (kept, BLOG),
    "IntegrityUnknownWork": (lambda: cascade("pending", database="old_db"), {"kind": "alias"}),
    "IntegrityUnreachable": (away, BLOG),
    "IntegrityPausedTooLong": (
        lambda: actions.pause("blog_db", actor="op", reason="", using="default"),
        BLOG,
    ),
    "IntegrityScanStale": (stale, BLOG | HERE),
    "IntegrityBrake": (orphaned, HERE),
    "IntegrityBeatSilent": (lambda: unseen("beat", 200), {}),
    "IntegrityNoWorker": (lambda: unseen("worker", 90), {}),
    "IntegrityQueueWithoutConsumer": (lambda: cascade("pending"), BLOG),
}


def fires(alert: str, samples: Samples) -> list[dict[str, str]]:
    return firing(RULES[alert]["expr"], samples)


@pytest.mark.parametrize("alert", CONDITIONS)
def test_it_fires_on_its_condition_and_not_before(
    client: Client, tmp_path: Path, tune: Tune, alert: str
) -> None:
    tune(deadline_days={})
    sound()
    User.objects.create(username="alive") if alert != "IntegrityBrake" else None
    before = scrape(client)
    assert [name for name in RULES if fires(name, before)] == []
    condition, labels = CONDITIONS[alert]
    condition()
    samples = scrape(client)
    assert fires(alert, samples) == [labels]
    late = [each for each in samples if each[0] == "integrity_deadline_margin_seconds"]
    assert bool(late) is ("Deadline" in alert)
    promtool(tmp_path, alert, samples)


def test_a_log_that_is_down(client: Client, refuse: Any, tmp_path: Path) -> None:
    sound()
    with refuse("test_left"):
        samples = scrape(client)
    assert fires("IntegrityLogUnreachable", samples) == [{"database": "test_left"}]
    promtool(tmp_path, "IntegrityLogUnreachable", samples)


def test_no_figures_at_all(tmp_path: Path) -> None:
    assert fires("IntegrityMetricsGone", [("up", {}, 0.0)])
    promtool(tmp_path, "IntegrityMetricsGone", [("up", {}, 0.0)])


def test_each_alert_is_tested_and_has_a_section_in_the_runbook() -> None:
    assert {*CONDITIONS, "IntegrityLogUnreachable", "IntegrityMetricsGone"} == set(RULES)
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    for alert, rule in RULES.items():
        assert alert in headings
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"


def test_an_alert_about_a_fault_names_its_guide() -> None:
    sections = re.split(r"^## ", (ROOT / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)
    for alert, rule in RULES.items():
        section = next(text for text in sections if text.startswith(f"{alert}\n"))
        guide = rule["annotations"].get("guide")
        assert (guide is None) is (alert in WITHOUT_GUIDE)
        if guide:
            assert guide in GUIDES
            assert f"(on-call/{guide}.md)" in section


@pytest.mark.parametrize(("options", "file"), [((), ALERTS), (("--grafana",), DASHBOARD)])
class TestTheVerbThatPrintsThem:
    def test_it_prints_the_file(
        self, options: tuple[str, ...], file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call_command("integrity", "alerts", *options)
        assert capsys.readouterr().out == file.read_text()
        call_command("integrity", "alerts", *options, "--json")
        document = json.loads(capsys.readouterr().out)
        assert (document["file"], document["text"]) == (file.name, file.read_text())

    def test_it_writes_the_file_in_place_of_an_old_one(
        self,
        options: tuple[str, ...],
        file: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        output = tmp_path / "written"
        output.write_text(file.read_text() * 2)
        call_command("integrity", "alerts", *options, "--output", str(output))
        said = " ".join(capsys.readouterr().out.split())
        assert said == f"{file.name} written to {output}"
        assert output.read_text() == file.read_text()

    def test_it_says_that_a_file_cannot_be_written(
        self, options: tuple[str, ...], file: Path, tmp_path: Path
    ) -> None:
        nowhere = tmp_path / "missing" / file.name
        with pytest.raises(CommandError, match="cannot be written: No such file or directory"):
            call_command("integrity", "alerts", *options, "--output", str(nowhere))


def test_alerts_and_the_dashboard_name_metrics_that_exist(client: Client) -> None:
    there = {name for name, _, _ in scrape(client)}
    text = client.get("/integrity/metrics").text
    # A metric may have no samples, as the margin has without deadlines.
    families = {family.name for family in text_string_to_metric_families(text)}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    named = set(
        re.findall(r"\bintegrity_\w+", " ".join([*shown, *(r["expr"] for r in RULES.values())]))
    )
    assert named <= there | families
    assert there <= named, "metrics that nobody looks at"
