"""What this app logs is plain text, and quotes no row."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

from apps.integrity.exceptions.loggers import logger_of, origin_of

APP = Path(__file__).resolve().parents[3] / "apps" / "integrity"
PERSONAL = "ann@example.com"
HOSTILE = f"{PERSONAL}\n2026 ERROR forged\x1b[31m"
logger = logger_of("integrity.test")


def failing() -> None:
    raise ValueError(HOSTILE)


@pytest.fixture
def error() -> ValueError:
    with pytest.raises(ValueError, match="forged") as caught:
        failing()
    return caught.value


def test_a_value_is_one_plain_line(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("%s is away, %d of %s", HOSTILE, 3, [HOSTILE])
    assert caplog.messages[0].isprintable()
    assert caplog.messages[0].startswith(f"{PERSONAL} 2026 ERROR forged\\x1b[31m is away, 3 of [")


def test_so_is_a_message_without_values(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning(HOSTILE)
    logger.warning("%s", "x" * 50_000_000)
    assert all(each.isprintable() and len(each) <= 500 for each in caplog.messages)


def test_an_error_is_its_class_and_the_code_that_it_came_through(
    caplog: pytest.LogCaptureFixture, error: ValueError
) -> None:
    logger.error("failed: %s%s", error, origin_of(error), exc_info=error)
    assert caplog.messages[0].startswith("failed: ValueError\n  File ")
    assert "in failing" in caplog.messages[0]
    assert PERSONAL not in caplog.text


def test_only_at_debug_the_traceback_is_there(
    caplog: pytest.LogCaptureFixture, error: ValueError
) -> None:
    logger.debug("failed", exc_info=error)
    assert caplog.text == ""
    with caplog.at_level(logging.DEBUG, "integrity.test"):
        logger.debug("failed", exc_info=error)
    assert PERSONAL in caplog.text


def test_a_record_names_the_line_that_logs(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("here")
    assert caplog.records[0].funcName == "test_a_record_names_the_line_that_logs"


def test_no_other_logger_is_made_in_the_app() -> None:
    """One that is made by `logging.getLogger` passes foreign text on as it came."""
    known = {"exceptions/loggers.py", "management/progress.py"}
    others = {
        str(path.relative_to(APP))
        for path in APP.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "getLogger"
    }
    assert others - known == set()
