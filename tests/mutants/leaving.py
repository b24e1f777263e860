"""Mutations of how the app is left."""

from __future__ import annotations

from .mutation import Mutation

LEAVING = "apps/integrity/leaving.py"
BACK = "tests/integration/test_leaving.py::TestMigratingBack"

MUTATIONS = (
    Mutation(
        "the-log-is-dropped-with-its-work",
        "G1: `migrate integrity zero` drops deletions that nobody has carried out",
        LEAVING,
        "[*_recorded(using), *_left(using)]",
        "[*_recorded(using)]",
        (f"{BACK}::test_not_while_a_deletion_waits_for_its_dispatch",),
    ),
    Mutation(
        "the-log-is-dropped-while-it-is-used",
        "G1: deletes of a site that still records them fail",
        LEAVING,
        "[*_recorded(using), *_left(using)]",
        "[*_left(using)]",
        (f"{BACK}::test_not_while_deletions_are_recorded",),
    ),
    Mutation(
        "a-log-that-nobody-knows-is-dropped",
        "G1: who takes the routers away first drops a log with its work",
        LEAVING,
        "dict.fromkeys((*relations.log_databases(), using))",
        "relations.log_databases()",
        (f"{BACK}::test_a_log_that_today_s_catalogue_does_not_know_is_asked_too",),
    ),
    Mutation(
        "a-commit-beside-the-drop",
        "G1: what was recorded while the log was looked at is dropped",
        LEAVING,
        "if renames.has_log(using) and (held := tables.lock(",
        "if False and (held := tables.lock(",
        (f"{BACK}::test_what_is_recorded_at_the_last_moment_is_counted",),
    ),
    Mutation(
        "off-still-records",
        "G1: a delete fails once the log is gone",
        "apps/integrity/conf.py",
        'return self.capture_of(parent) == "off"',
        "return False",
        (f"{BACK}::test_when_all_is_verified_it_goes_and_deletes_go_on",),
    ),
)
