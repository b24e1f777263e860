"""Probes behind the figures: what they remember, and when figures are computed anew."""

from __future__ import annotations

import itertools
import threading

import pytest

from apps.integrity.report import probes
from apps.integrity.report.shared import Shared

SECONDS = 30.0


class Server:
    """Answers with `reason` once it may: it is frozen in between."""

    def __init__(self) -> None:
        self.reason, self.asked = "", 0
        self.may = threading.Event()
        self.may.set()

    def __call__(self) -> str:
        self.asked += 1
        assert self.may.wait(SECONDS)
        return self.reason


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def probe(server):
    return probes.Probe(server)


@pytest.fixture
def computed():
    """Figures that say how often they were computed."""
    number = itertools.count(1)
    return Shared(lambda: next(number))


def ask(probe):
    probe.ask(now=True)
    return probe.answer(within=SECONDS)


def test_an_answer_is_kept_until_the_next_one(server, probe):
    assert ask(probe) == ""
    server.reason = "refused"
    probe.ask()  # it has been asked a moment ago
    assert (probe.answer(), server.asked) == ("", 1)
    assert ask(probe) == "refused"
    assert probe.known[0] == "refused"


def test_who_does_not_answer_is_late_and_is_not_asked_again(server, probe, monkeypatch):
    monkeypatch.setattr(probes, "LATE_SECONDS", 0.0)
    server.may.clear()
    probe.ask(now=True)
    assert probe.answer().startswith("no answer for")
    probe.ask(now=True)
    server.may.set()
    assert probe.answer(within=SECONDS) == ""
    assert server.asked == 1


def test_where_no_thread_can_begin_nothing_is_said_of_the_server(server, probe, monkeypatch):
    monkeypatch.setattr(probes, "LATE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            probe.ask(now=True)
    assert probe.answer() == ""
    assert ask(probe) == ""
    assert server.asked == 1


def test_figures_are_computed_anew_once_a_server_falls_silent_or_answers_again(
    server, probe, computed, tune
):
    tune(figures_seconds=3_600.0)
    assert (ask(probe), computed(), computed()) == ("", 1, 1)
    server.reason = "refused"
    assert (ask(probe), computed()) == ("refused", 2)
    server.reason = "still refused"
    assert (ask(probe), computed()) == ("still refused", 2)
    server.reason = ""
    assert (ask(probe), computed()) == ("", 3)
