"""`integrity status` for people: what it shows, in colours on a terminal only, and again."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.core.management.color import color_style
from django.utils import timezone

from apps.integrity import control
from apps.integrity.management.commands import integrity
from apps.integrity.models import Cascade, Deletion

pytestmark = pytest.mark.usefixtures("committed")

USAGE, FINDINGS = 2, 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def blocked() -> None:
    deletion = Deletion.objects.create(
        parent="auth.User", key="1", source="api", state="dispatched"
    )
    Cascade.objects.create(
        deletion=deletion, database="blog_db", state="blocked", recorded_at=timezone.now()
    )


def test_it_shows_scans_the_brake_workers_and_beat() -> None:
    control.beat("beat", using="default")
    Deletion.objects.create(
        parent="auth.User", key="1", relation="blog.Post.author", state="suspect", source="scan"
    )
    out = io.StringIO()
    call_command("integrity", "status", stdout=out)
    lines = out.getvalue().splitlines()
    [post] = [line for line in lines if line.startswith("blog.Post.author ")]
    assert post.split()[1:5] == ["blog_db", "0.0", "-", "1"]
    assert post.endswith("the parent's table is empty")
    assert "workers: never seen" in lines
    assert "beat: last seen 0 s ago" in lines


@pytest.mark.parametrize("colours", [True, False])
def test_colours_only_where_they_are_wanted(*, colours: bool) -> None:
    blocked()
    out = Terminal() if colours else io.StringIO()
    command = integrity.Command(stdout=out)
    command.style = color_style(force_color=colours)
    with pytest.raises(SystemExit) as ended:
        call_command(command, "status")
    assert ended.value.code == FINDINGS
    [line] = [
        each for each in out.getvalue().splitlines() if "blog_db  " in each and "idle" not in each
    ][:1]
    assert line.startswith("\033[") == colours


def test_it_watches_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    out, waits = Terminal(), list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(integrity.time, "sleep", wait)
    blocked()
    call_command("integrity", "status", "--watch", stdout=out)
    assert waits == [integrity.WATCH_SECONDS] * 2
    assert out.getvalue().count(integrity.CLEAR) == 2


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_watching_takes_a_terminal(more: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("integrity", "status", "--watch", *more, stdout=io.StringIO())
    assert refused.value.returncode == USAGE
