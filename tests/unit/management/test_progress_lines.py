"""What a command says of the log and of its own, and what it does not say twice."""

from __future__ import annotations

import logging

import pytest

from apps.integrity.management import progress


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """The log of a project without `LOGGING`: not one that pytest hears, too."""
    lonely = logging.Logger("integrity")  # noqa: LOG001 (it has no parent)
    monkeypatch.setattr(progress, "LOGGER", lonely)
    return lonely


def test_what_is_logged_and_told_is_said_once_and_progress_each_time(
    unheard: logging.Logger,
) -> None:
    said: list[str] = []
    with progress.progress_lines(said.append) as tell:
        tell("1 rows")
        unheard.warning("%s is away", "blog_db")
        unheard.warning("%s is away", "blog_db")
        tell("blog_db is away")
        tell("1 rows")
    assert said == ["1 rows", "blog_db is away", "1 rows"]


def test_it_forgets(unheard: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "REPEAT_SECONDS", 0.0)
    with progress.progress_lines(said.append) as tell:
        for _ in range(2):
            unheard.warning("blog_db is away")
        tell("over")
    assert said == ["blog_db is away", "blog_db is away", "over"]
    assert tell.logged_at == {}


def test_afterwards_it_listens_no_more(unheard: logging.Logger) -> None:
    with pytest.raises(ZeroDivisionError), progress.progress_lines(print):
        raise ZeroDivisionError
    assert not unheard.hasHandlers()


def test_where_the_project_has_a_handler_the_log_is_its(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    with progress.progress_lines(said.append) as tell:
        progress.LOGGER.warning("away")
        tell("away")
    assert (said, caplog.messages) == (["away"], ["away"])
