"""Mutations of what a relation is: its policy."""

from __future__ import annotations

from .mutation import Mutation
from .paths import ADOPTION, RIGHTS_ROWS, STEPS, TASKS, WAKEUP

POLICIES = "apps/integrity/policies.py"
T_INSTALLATION = "tests/unit/test_installation.py"
T_EAGER = "tests/integration/test_eager.py"
T_HOMES = "tests/unit/test_homes.py"
T_POLICIES = "tests/unit/test_policies.py"
T_WRAPPED = "tests/integration/test_wrapped_policies.py"

CONTENT_TYPES = "apps/integrity/content_types.py"
T_CONTENT_TYPES = "tests/integration/test_content_type_keys.py"

MUTATIONS = (
    # Keys to content types
    Mutation(
        "content-type-ids-of-any-database",
        "G2: a content type deleted in one database takes rows of another one's",
        CONTENT_TYPES,
        "said = not pointers or (bool(named) and named <= set(parents))",
        "said = True",
        ("tests/unit/test_content_types.py::test_a_pointers_key_is_found_on_each_kind_of_model",),
    ),
    Mutation(
        "content-types-of-its-own",
        "G2: a declared key follows a content type of the same number in another database",
        CONTENT_TYPES,
        "if said and not any(_has_content_types(each, field) for each in children):",
        "if said:",
        (f"{T_CONTENT_TYPES}::test_declared_the_key_cascades_where_it_can_mean_only_one_database",),
    ),
    Mutation(
        "content-type-keys-unadopted",
        "a content type cannot be deleted: Django looks for rows where their table is not",
        ADOPTION,
        "_stand_in(key.field, LocalOnDelete(key))",
        "pass",
        (f"{T_CONTENT_TYPES}::test_deleting_a_content_type_elsewhere_leaves_the_rows",),
    ),
    Mutation(
        "content-type-keys-always-local",
        "G2: the rows' own policy acts for a content type of another database",
        ADOPTION,
        "if using in self.key.child_databases and sub_objs:",
        "if sub_objs:",
        (f"{T_CONTENT_TYPES}::test_deleting_a_content_type_elsewhere_leaves_the_rows",),
    ),
    # What is asked of routers
    Mutation(
        "an-instance-for-routers",
        "a check runs the defaults of fields, which ask a database that is not there yet",
        "apps/integrity/homes.py",
        "row: models.Model = object.__new__(model)",
        "row: models.Model = model()",
        (f"{T_HOMES}::TestNoInstance",),
    ),
    Mutation(
        "a-router-stops-the-check",
        "a router that reads a row's values ends `check` with a traceback",
        "apps/integrity/checks/keys.py",
        "answer = homes.answer_beside(method, model, beside)",
        "answer = homes.answer(method, model, instance=beside)",
        (f"{T_HOMES}::test_a_router_that_wants_values_of_a_row_stops_neither_check_nor_doctor",),
    ),
    Mutation(
        "a-router-unnamed",
        "a router that raises ends the start with a bare traceback",
        "apps/integrity/homes.py",
        "raise RouterFailed(asked, method, of._meta.label, error) from error",
        "raise",
        (f"{T_HOMES}::TestARouterThatRaises",),
    ),
    Mutation(
        "checks-of-all-apps",
        "`manage.py check blog` is red for another app",
        "apps/integrity/checks/scope.py",
        "return [each for each in found if concerns(each.obj, app_configs)]",
        "return found",
        (f"{T_HOMES}::TestSomeApps",),
    ),
    Mutation(
        "composite-keys-ungranted",
        "a worker may not read which row it is whose primary key is composite",
        RIGHTS_ROWS,
        "*relations.pk_fields(key.model), *columns_of(key)",
        "relations.primary_key(key.model), *columns_of(key)",
        ("tests/integration/test_composite_keys.py::test_grants_name_each_column_of_the_key",),
    ),
    Mutation(
        "an-address-without-its-schema",
        "G2: a delete in another schema is taken for one of the parent",
        "apps/integrity/backends/addresses.py",
        "return (vendor, *server, name, _schema(options))",
        "return (vendor, *server, name)",
        ("tests/unit/test_addresses.py::TestIsHome",),
    ),
    Mutation(
        "a-catalogue-for-ever",
        "tests that swap routers see relations of others",
        "apps/integrity/installation.py",
        "relations.replace(relations.discover() if here else relations.Catalogue(()))",
        "pass",
        (f"{T_INSTALLATION}::test_routers_that_a_test_swaps",),
    ),
    Mutation(
        "stand-ins-for-ever",
        "a key within one database is left to cascades that never come",
        "apps/integrity/installation.py",
        "adoption.release(before)",
        "pass",
        (f"{T_INSTALLATION}::test_routers_that_a_test_swaps",),
    ),
    Mutation(
        "eager-asks-a-broker",
        "in eager mode a delete waits for a broker that is not there",
        TASKS,
        "    if is_eager():\n        task.apply",
        "    if False:\n        task.apply",
        (f"{T_EAGER}::test_rows_elsewhere_are_gone_when_the_delete_returns",),
    ),
    Mutation(
        "eager-in-a-thread",
        "in eager mode a thread keeps connections open, and no test can drop its databases",
        WAKEUP,
        "(in_place if is_eager() else publisher).wake(using)",
        "publisher.wake(using)",
        (f"{T_EAGER}::test_no_thread_is_started_and_none_keeps_a_connection",),
    ),
    # Policies
    Mutation(
        "policy-by-identity",
        "a wrapped PROTECT protects nothing, where its wrapper equals it",
        POLICIES,
        "policy is not None and bool(on_delete == policy)",
        "policy is not None and on_delete is policy",
        (f"{T_POLICIES}::test_only_what_equals_djangos_own_does_nothing_else",),
    ),
    Mutation(
        "policy-equal-to-all",
        "G2: what equals every policy, as a mock does, is taken for CASCADE",
        POLICIES,
        "if len(found) == 1 else None",
        "if found else None",
        (f"{T_WRAPPED}::TestUnknown",),
    ),
    Mutation(
        "policy-unwrapped-never",
        "a decorated policy refuses every delete",
        POLICIES,
        "return None if bound else on_delete.func",
        "return None",
        (f"{T_POLICIES}::test_a_wrapper_is_what_it_wraps",),
    ),
    Mutation(
        "policy-unknown-deletes",
        "G2: a delete goes through though nobody knows what becomes of the rows",
        ADOPTION,
        "        require_usable(field, relation.label, relation.child_databases[0])\n",
        "",
        (f"{T_WRAPPED}::TestUnknown",),
    ),
    Mutation(
        "policy-unknown-cascades",
        "G2: a scan's or a trigger's deletion takes rows that a wrapper keeps",
        STEPS,
        "    require_usable(node.field, node.label, using)\n    if node.below:",
        "    if node.below:",
        (f"{T_WRAPPED}::TestUnknown",),
    ),
    Mutation(
        "policy-chooses-rows",
        "G2: a wrapper that keeps some of the rows is taken for what it wraps",
        POLICIES,
        "if objs is not self.rows:",
        "if False:",
        (f"{T_POLICIES}::test_what_cannot_be_carried_out_is_refused_with_the_remedy",),
    ),
    Mutation(
        "policy-tried-on-data",
        "a check asks databases, and runs what a project does to find a value",
        POLICIES,
        "            connection.ensure_connection = refuse\n",
        "            connection.ensure_connection = connection.ensure_connection\n",
        (f"{T_POLICIES}::test_a_trial_asks_no_database_and_leaves_the_connections_as_they_were",),
    ),
    Mutation(
        "policy-hashed-as-declared",
        "Django 6.1 makes a queryset for each relation of a delete",
        ADOPTION,
        "hash(models.DO_NOTHING) if self.passed_over else super().__hash__()",
        "super().__hash__()",
        (
            "tests/unit/test_adoption.py::test_the_collector_passes_over_what_is_left_to_the_cascade",
        ),
    ),
)
