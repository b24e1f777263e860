"""Mutations of what becomes of a value that belongs to a living row again."""

from __future__ import annotations

from .mutation import Mutation
from .paths import ALARMS, CAPTURE, CLAIMS, ENTRIES, EXITS, RENAMES, TIME_SLICE, VERIFY

KEPT = "apps/integrity/log/kept.py"
PENDING = "apps/integrity/log/pending.py"
NATURAL = "apps/integrity/checks/natural.py"
ATTACKS = "tests/security/test_attack_returning_keys.py"
BEFORE, MEANWHILE, TOLD = (f"{ATTACKS}::Test{each}" for each in ("Before", "Meanwhile", "Told"))
UNKNOWN, ASKED = f"{ATTACKS}::TestUnknownValues", f"{ATTACKS}::TestPending"

FIELDS_LOG = "apps/integrity/log/fields.py"
FIELDS_REPORT = "apps/integrity/report/fields.py"
LISTS = "apps/integrity/report/lists.py"
RENAMED = "tests/integration/test_rename_fields.py"
NEW_RELATION = f"{RENAMED}::TestANewRelation"

MUTATIONS = (
    Mutation(
        "given-up-before-the-rest-is-gone",
        "G1: who gives up a value that the log lacks leaves rows behind whose key it knows",
        TIME_SLICE,
        "cascade in cascades - unknown[label] and label not in self.obstacles",
        "False",
        (f"{NEW_RELATION}::test_a_value_that_is_not_known_counts_once_all_else_is_gone",),
    ),
    Mutation(
        "a-field-renamed-over-another-value",
        "G1: a value is lost, and rows that hold it stay, because another one got its name",
        FIELDS_LOG,
        "    if new in targets and targets[new] != targets[old]:\n        return None\n",
        "",
        (f"{RENAMED}::TestRefused::test_two_values_of_one_deletion",),
    ),
    Mutation(
        "a-field-renamed-to-what-cannot-hold-it",
        "G7: one value that a field cannot hold stops whatever is claimed with it",
        FIELDS_LOG,
        "target is not None and not _fits(target, targets[new])",
        "False",
        (f"{RENAMED}::TestRefused::test_a_value_that_the_field_cannot_hold",),
    ),
    Mutation(
        "a-field-that-nobody-knows",
        "G1: values get a name that no relation asks for",
        RENAMES,
        "    if change.new not in known:",
        "    if False:",
        (f"{RENAMED}::TestRefused::test_names_that_make_no_sense",),
    ),
    Mutation(
        "a-field-that-is-lacking-is-untold",
        "G11: a deletion whose value nobody knows waits, and no finding says what to type",
        FIELDS_REPORT,
        "for pk, targets in rows if field not in targets}",
        "for pk, targets in rows if False}",
        (f"{RENAMED}::TestARenamedField::test_what_the_finding_says_leads_out",),
    ),
    Mutation(
        "given-up-although-other-rows-wait",
        "G1: rows along other relations are given up with those that nobody can find",
        FIELDS_LOG,
        "if each.failing and {*each.failing} <= {*labels}]",
        "if each.failing]",
        (f"{RENAMED}::TestANewRelation::test_one_that_waits_for_other_rows_too_goes_on",),
    ),
    Mutation(
        "given-up-although-the-value-is-known",
        "G1: a cascade that could be done is given up",
        FIELDS_LOG,
        "Cascade.IN_BACKLOG, lacks, state",
        "Cascade.IN_BACKLOG, state",
        (f"{RENAMED}::TestANewRelation::test_one_that_has_the_value_goes_on",),
    ),
    Mutation(
        "given-up-in-part-is-verified",
        "G12: a deletion of which an operator gave a part up is proven",
        ENTRIES,
        "arrived = [pk for pk in arrived if pk not in {*kept, *lost}]",
        "arrived = [pk for pk in arrived if pk not in kept]",
        (f"{RENAMED}::TestANewRelation::test_what_the_reason_says_leads_out",),
    ),
    Mutation(
        "a-list-without-what-its-card-counts",
        "the page that a card links to shows nothing",
        LISTS,
        "rows.filter(Q(state=state) | Q(",
        "rows.filter(Q(state=state) & Q(",
        (f"{RENAMED}::test_a_list_of_the_kept_has_what_its_card_counts",),
    ),
    Mutation(
        "kept-is-done",
        "G12: rows of a value that was taken over are left, and the deletion is verified",
        TIME_SLICE,
        "for pk, number in self.held.kept_along(relation).items():",
        "for pk, number in ():",
        (f"{MEANWHILE}::test_one_that_was_seen_stays_kept_although_its_owner_left_again",),
    ),
    Mutation(
        "kept-is-verified",
        "G12: a value that was taken over after its rows went is called proven",
        VERIFY,
        "for pk, number in held.kept_along(relation).items():",
        "for pk, number in ():",
        (f"{MEANWHILE}::test_after_it_was_done_and_before_it_is_verified",),
    ),
    Mutation(
        "kept-is-forgotten",
        "G12: what was seen to be taken over is verified once its owner has left",
        VERIFY,
        "for pk, each in held.cascades.items() if each.kept}",
        "for pk, each in held.cascades.items() if False}",
        (f"{MEANWHILE}::test_one_that_was_seen_stays_kept_although_its_owner_left_again",),
    ),
    Mutation(
        "kept-in-one-database-is-verified",
        "G12: a deletion is verified although one of its cascades is kept",
        ENTRIES,
        "if state == Cascade.State.KEPT}",
        "if False}",
        (f"{BEFORE}::test_its_rows_stay_and_nothing_is_proven",),
    ),
    Mutation(
        "kept-along-all-relations",
        "G9: late rows of a value that nobody took over stay, because another one was",
        TIME_SLICE,
        "if pk not in free}",
        "}",
        (f"{BEFORE}::test_late_rows_of_another_value_are_found",),
    ),
    Mutation(
        "kept-is-no-alarm",
        "G11: rows are left, and nobody is told",
        ALARMS,
        'if row["kept"]:',
        "if False:",
        (f"{TOLD}::test_status_the_alarm_and_the_exit_code_say_it",),
    ),
    Mutation(
        "kept-without-rows-is-an-alarm",
        "nobody needs to look at what no row refers to",
        KEPT,
        "if not any(found.values()):",
        "if False:",
        (f"{MEANWHILE}::test_so_it_is_where_nothing_refers_to_it_and_nobody_is_alarmed",),
    ),
    Mutation(
        "kept-is-clean",
        "G12: a receipt of a deletion that is kept ends as if it were proof",
        EXITS,
        'if receipt["deletion"]["state"] == "kept" else',
        "if False else",
        (f"{TOLD}::test_status_the_alarm_and_the_exit_code_say_it",),
    ),
    Mutation(
        "a-value-that-is-not-known-is-nothing-to-do",
        "G1: rows of a renamed field stay, and the deletion is done",
        TIME_SLICE,
        "set[int]().union(*left.values(), *unknown.values())",
        "set[int]().union(*left.values())",
        (f"{UNKNOWN}::test_it_waits_and_says_so",),
    ),
    Mutation(
        "a-value-that-is-not-known-is-verified",
        "G12: what nobody could look for is called proven",
        CLAIMS,
        "return found.union(*map(self.unknown_along, wanted))",
        "return found",
        (f"{UNKNOWN}::test_it_is_not_verified",),
    ),
    Mutation(
        "a-value-that-was-null-is-not-known",
        "G1: a parent without a name is never done",
        CAPTURE,
        "field.name: None if value is None else relations.format_key(field, value)\n"
        "        for field, value in values.items()",
        "field.name: relations.format_key(field, value)\n"
        "        for field, value in values.items() if value is not None",
        (f"{UNKNOWN}::test_a_value_that_was_null_is_known",),
    ),
    Mutation(
        "pending-knows-no-suspects",
        "a name whose orphans a scan has seen is free",
        PENDING,
        "state__in=Deletion.OPEN)",
        "state__in=Deletion.OPEN[1:])",
        (f"{ASKED}::test_by_key_and_by_value",),
    ),
    Mutation(
        "pending-for-ever",
        "a name is never free again",
        PENDING,
        ", state__in=Deletion.OPEN)",
        ")",
        (f"{ASKED}::test_what_has_ended_is_not_pending",),
    ),
    Mutation(
        "made-keys-are-natural",
        "a warning about keys that nobody chooses",
        NATURAL,
        "return not (isinstance(field, COUNTED) or made or hidden)",
        "return True",
        ("tests/unit/test_checks_natural.py::test_what_people_choose_is_natural",),
    ),
)
