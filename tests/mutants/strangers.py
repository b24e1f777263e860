"""Mutations of what strangers, staff and open tabs may ask, see and cost."""

from __future__ import annotations

from .mutation import Mutation
from .paths import BOUNDED, EFFECTS, PAGES, SHARED, STANDING, T_COST, VIEWS

USING = '        using = form.cleaned_data["log"]'
AUDITS = "        page = report.audits(using=using,"

MUTATIONS = (
    Mutation(
        "a-probe-reads-the-backlog",
        "G8: what anybody may ask costs more with each row that is open",
        STANDING,
        "'waiting') ORDER BY due_at, id LIMIT 1)",
        "'waiting') LIMIT 1)",
        (f"{T_COST}::TestStatements::test_no_question_reads_the_backlog",),
    ),
    Mutation(
        "each-stranger-computes",
        "each anonymous request asks the database anew",
        SHARED,
        "if last and now - last.at < last.seconds:",
        "if last and now < last.at:",
        (f"{T_COST}::TestStatements::test_once_for_all_who_ask_within_the_time",),
    ),
    Mutation(
        "all-compute-at-once",
        "callers at the same time ask the database once each",
        SHARED,
        "            if under_way is None:\n",
        "            if True:\n",
        (f"{T_COST}::TestShared::test_callers_at_the_same_time_get_the_one_under_way",),
    ),
    Mutation(
        "callers-queue",
        "a database that is slow holds every thread of the site",
        SHARED,
        "if last and now - last.at < USABLE_SECONDS:",
        "if last and now - last.at < 0:",
        (f"{T_COST}::TestShared::test_while_one_computes_the_others_get_the_last",),
    ),
    Mutation(
        "each-tab-computes",
        "each open tab asks the log anew, every five seconds",
        PAGES,
        "seen = figures.overview()",
        "seen = report.overview()",
        (f"{T_COST}::TestTabs::test_one_computation_serves_all_and_shows_each_what_is_theirs",),
    ),
    Mutation(
        "a-preview-counts-all",
        "G8: a preview counts millions of rows while somebody waits",
        EFFECTS,
        "began, most = time.monotonic(), limits.rows if limits else None",
        "began, most = time.monotonic(), None",
        (f"{T_COST}::TestTabs::test_a_preview_stops_counting",),
    ),
    Mutation(
        "a-count-waits",
        "a page waits for a lock of somebody else",
        BOUNDED,
        "most = min(filter(None, (before, max(1, round(seconds * 1000)))))",
        "most = before",
        (f"{T_COST}::TestTabs::test_the_time_of_other_statements_is_as_before",),
    ),
    Mutation(
        "a-parameter-is-believed",
        "an address with 5,000 digits is an error of the server",
        PAGES,
        f'    if form.is_valid():\n{USING} or using\n{AUDITS} before=form.cleaned_data["before"])',
        f"    if form.fields:\n{AUDITS} before=int(request.GET.get('before') or 1))",
        (f"{T_COST}::TestParameters::test_of_a_page",),
    ),
    Mutation(
        "strangers-are-told-aliases",
        "whoever reaches healthz learns the names of the databases",
        VIEWS,
        "    if known:\n",
        "    if found:\n",
        (f"{T_COST}::TestTokens::test_a_stranger_is_told_no_alias",),
    ),
    Mutation(
        "healthz-forgets-its-token",
        "whoever reaches healthz learns what fails, whatever token is set",
        VIEWS,
        "if settings.healthz_token and not known:",
        "if settings.healthz_token and not tokens:",
        (f"{T_COST}::TestTokens::test_a_wrong_one_is_refused_whatever_its_bytes",),
    ),
    Mutation(
        "tokens-as-text",
        "a header that is no ASCII is a 500",
        VIEWS,
        '.encode("latin-1", "backslashreplace")',
        ".encode()",
        (f"{T_COST}::TestTokens::test_a_wrong_one_is_refused_whatever_its_bytes",),
    ),
)
