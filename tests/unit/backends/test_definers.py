"""Whose rights the functions of the triggers get, told from the roles of a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apps.integrity.backends.postgresql.triggers.definers import Roles, choose
from apps.integrity.backends.postgresql.triggers.functions import Place
from apps.integrity.exceptions import TriggersRefused

#: A plain role installs, which owns the log and its schema; the role for the log is not there.
PLAIN = Roles(
    log=Place("public", "integrity_deletion"),
    owner="shop",
    owned_by_superuser=False,
    as_owner=True,
    me="shop",
    superuser=False,
    creates_roles=False,
    grants_schema=True,
    role="integrity_log",
    exists=False,
    is_superuser=False,
    may_more=False,
    usable=False,
    grantable=False,
    uses_schema=False,
    creates_in_schema=False,
    inserts=False,
    shut_out=False,
    memberships_have_options=True,
)
MEMBER = replace(PLAIN, exists=True, usable=True)
ADMIN = replace(PLAIN, exists=True, grantable=True)
MAKER = replace(PLAIN, creates_roles=True)
SUPERUSER = replace(PLAIN, superuser=True, owned_by_superuser=True)
OLD_SERVER = {"memberships_have_options": False}
INSERT = (
    "GRANT INSERT (parent, key, targets, source, actor, reference, because, deadline)"
    ' ON "public"."integrity_deletion"'
    ' TO "integrity_log"'
)


@pytest.mark.parametrize("roles", [MEMBER, ADMIN, MAKER, SUPERUSER])
def test_the_role_of_the_log_where_it_can_be_had(roles: Roles) -> None:
    chosen = choose(roles)
    assert chosen.name == "integrity_log"
    assert INSERT in chosen.needs
    assert ("CREATE ROLE" in " ".join(chosen.needs)) == (not roles.exists)
    # A superuser need not lend anything; what is lent is taken back.
    assert len(chosen.lend) == len(chosen.take) == (0 if roles.superuser else 1)


def test_what_is_there_already_is_not_done_again() -> None:
    chosen = choose(replace(MEMBER, uses_schema=True, inserts=True, creates_in_schema=True))
    assert (chosen.needs, chosen.lend, chosen.take) == ((), (), ())


@pytest.mark.parametrize(
    ("roles", "options"),
    [(MAKER, " WITH INHERIT TRUE, SET TRUE"), (replace(MAKER, **OLD_SERVER), "")],
)
def test_a_maker_of_roles_becomes_a_member(roles: Roles, options: str) -> None:
    assert f'GRANT "integrity_log" TO CURRENT_USER{options}' in choose(roles).needs


@pytest.mark.parametrize(
    "roles",
    [
        PLAIN,
        replace(PLAIN, exists=True),
        replace(MAKER, exists=True),  # made by somebody else
        replace(MEMBER, grants_schema=False),
    ],
)
def test_the_owner_of_the_log_stands_in(roles: Roles) -> None:
    assert choose(roles).name == "shop"


def test_before_memberships_had_options_who_makes_roles_may_use_any() -> None:
    assert choose(replace(MAKER, exists=True, **OLD_SERVER)).name == "integrity_log"


@pytest.mark.parametrize(
    "roles",
    [
        replace(PLAIN, owner="postgres", owned_by_superuser=True),
        replace(PLAIN, owner="postgres", owned_by_superuser=True, as_owner=False),
        replace(PLAIN, owner="other", as_owner=False),
    ],
)
def test_nobody_else_does_and_the_remedy_is_named(roles: Roles) -> None:
    with pytest.raises(TriggersRefused, match=r"CREATE ROLE .* NOLOGIN; GRANT .* TO \"shop\";"):
        choose(roles)


@pytest.mark.parametrize("roles", [PLAIN, MEMBER, ADMIN, MAKER, SUPERUSER])
def test_a_superuser_never_does(roles: Roles) -> None:
    with pytest.raises(TriggersRefused, match="which is a superuser"):
        choose(replace(roles, exists=True, is_superuser=True))


def test_trusted_roles_are_no_superusers() -> None:
    assert PLAIN.trusted == {"shop", "integrity_log"}
    assert SUPERUSER.trusted == {"integrity_log"}
    assert replace(PLAIN, is_superuser=True).trusted == {"shop"}


def test_row_security_is_opened_for_the_role_alone() -> None:
    (policy,) = [each for each in choose(replace(MEMBER, shut_out=True)).needs if "POLICY" in each]
    assert policy.endswith('FOR INSERT TO "integrity_log" WITH CHECK (true)')
