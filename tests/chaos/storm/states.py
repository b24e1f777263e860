"""Rare states that a storm has to reach, noted by the log's own server when they occur.

Triggers on two tables of the log write into `storm_seen`; `seen` counts. A step that was halved, a
barrier that held, a lease that ended, a slice handed over: none leaves a trace in the log itself.
"""

# ruff: noqa: S608 - the texts are our own

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .plan import Plan

HELD = "barrier held a verification"
LEASE = "lease taken over"
BACK = "parent back after the claim, its rows kept"
HALVED = "step halved"
HANDED = "time slice handed over"
ALL = (HELD, LEASE, BACK, HALVED, HANDED)

#: Wall-clock times between which a database could not be worked on.
Window = tuple[str, float, float]

TABLE = """
CREATE TABLE storm_seen (what text, database text, key text,
  at double precision DEFAULT extract(epoch FROM clock_timestamp()))"""
OF_CASCADES = f"""
CREATE FUNCTION storm_cascade() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  IF NEW.state = 'running' AND OLD.claim <> NEW.claim THEN
    INSERT INTO storm_seen VALUES ('{LEASE}', NEW.database);
  ELSIF NEW.state = 'kept' THEN
    INSERT INTO storm_seen SELECT '{BACK}', NEW.database, key FROM integrity_deletion
      WHERE id = ANY(NEW.deletions);
  ELSIF NEW.state = 'pending' AND NEW.reason = '' AND NEW.rows IS NOT NULL THEN
    INSERT INTO storm_seen VALUES ('{HANDED}', NEW.database);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER storm_cascade AFTER UPDATE ON integrity_cascade FOR EACH ROW
  WHEN (OLD.state = 'running') EXECUTE FUNCTION storm_cascade()"""
OF_DATABASES = f"""
CREATE FUNCTION storm_child() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  IF NEW.held_reason LIKE '%transaction %' THEN
    INSERT INTO storm_seen VALUES ('{HELD}', NEW.alias);
  END IF;
  IF NEW.step_rows IS NOT NULL THEN
    INSERT INTO storm_seen VALUES ('{HALVED}', NEW.alias);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER storm_child AFTER INSERT OR UPDATE ON integrity_childdatabase FOR EACH ROW
  EXECUTE FUNCTION storm_child()"""


def note() -> None:
    """Let the log's server take notes from now on."""
    with connections["default"].cursor() as cursor:
        for each in (TABLE, OF_CASCADES, OF_DATABASES):
            cursor.execute(each)


def seen(windows: Collection[Window], kept: Collection[int]) -> Counter[str]:
    """Count the states that occurred; `kept` are users who came back and have rows of before."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT what, database, key, at FROM storm_seen")
        rows = cursor.fetchall()
    return counted(rows, windows, kept)


def counted(
    rows: Iterable[tuple[str, str, str | None, float]],
    windows: Collection[Window],
    kept: Collection[int],
) -> Counter[str]:
    """Return the states with their numbers. Pure.

    What was put back while its database could not be worked on is no time slice that ended.
    """
    found: Counter[str] = Counter()
    for what, database, key, at in rows:
        hindered = any(alias == database and a <= at <= b for alias, a, b in windows)
        strange = what == BACK and (key is None or int(key) not in kept)
        if not (strange or (what == HANDED and hindered)):
            found[what] += 1
    return found


def expected(plan: Plan) -> Sequence[str]:
    """Return the states that the faults of one plan lead to, whatever they leave out. Pure."""
    caused = {HELD: "idle", HALVED: "narrow"}
    return [each for each in ALL if each not in caused or caused[each] in plan.troubles]


def too_mild(found: Counter[str], wanted: Iterable[str]) -> list[str]:
    """Return what did not occur although it should have, each as a failure. Pure."""
    return [f"too mild: never a {each}" for each in wanted if not found[each]]
