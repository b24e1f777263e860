"""The owner of the functions that record deletions: a role that may only insert into the log.

Reading returns a value; choosing is pure. The role is created where the installing role may create
roles. Elsewhere the owner of the log's tables takes its place, but never a superuser.

Note [Handing over]: a role that is no superuser may transfer a function to a role that it is a
member of, if that role may create objects in the function's schema. So the new owner gets that
privilege for one transaction. The membership stays: the owner of the log may do more with the log
than that role anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections

from ....exceptions import TriggersRefused
from .functions import WRITTEN, Place, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROLES = """
WITH log AS (
 SELECT log.oid, log.relname, log.relowner, log.relrowsecurity, space.oid AS space,
  space.nspname, owner.rolname AS owner, owner.rolsuper AS owned_by_superuser
 FROM pg_catalog.pg_class AS log
 JOIN pg_catalog.pg_namespace AS space ON space.oid = log.relnamespace
 JOIN pg_catalog.pg_roles AS owner ON owner.oid = log.relowner
 WHERE log.oid = pg_catalog.to_regclass(%s))
SELECT log.nspname, log.relname, log.owner, log.owned_by_superuser,
 pg_catalog.pg_has_role(me.oid, log.relowner, 'USAGE'),
 me.rolname, me.rolsuper, me.rolcreaterole,
 pg_catalog.has_schema_privilege(me.oid, log.space, 'CREATE WITH GRANT OPTION'),
 role.oid IS NOT NULL, coalesce(role.rolsuper, false),
 coalesce(role.rolcanlogin OR role.rolcreaterole OR role.rolreplication OR role.rolbypassrls
  OR EXISTS (SELECT FROM pg_catalog.pg_auth_members AS held WHERE held.member = role.oid), false),
 coalesce(pg_catalog.pg_has_role(me.oid, role.oid, 'USAGE')
  AND pg_catalog.pg_has_role(me.oid, role.oid, {given}), false),
 coalesce(pg_catalog.pg_has_role(me.oid, role.oid, 'MEMBER WITH ADMIN OPTION'), false),
 coalesce(pg_catalog.has_schema_privilege(role.oid, log.space, 'USAGE'), false),
 coalesce(pg_catalog.has_schema_privilege(role.oid, log.space, 'CREATE'), false),
 coalesce((SELECT bool_and(pg_catalog.has_column_privilege(role.oid, log.oid, name, 'INSERT'))
  FROM unnest(%s::text[]) AS written (name)), false),
 log.relrowsecurity AND log.relowner <> coalesce(role.oid, 0) AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_policy AS policy WHERE policy.polrelid = log.oid
  AND policy.polpermissive AND policy.polcmd IN ('a', '*')
  AND (0 = ANY(policy.polroles) OR role.oid = ANY(policy.polroles)))
FROM log JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user
LEFT JOIN pg_catalog.pg_roles AS role ON role.rolname = %s
"""
#: The policy that lets the role insert, where the log has row security.
POLICY = "integrity_log_inserts"
#: The first version of PostgreSQL whose memberships have the options INHERIT and SET.
SET_OPTION = 160000


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who owns the log, who installs, and what the role that may only insert into it can do now."""

    log: Place
    owner: str
    owned_by_superuser: bool
    #: Whether the installing role has the rights of the owner.
    as_owner: bool
    me: str
    superuser: bool
    creates_roles: bool
    #: Whether it may grant rights on the log's schema.
    grants_schema: bool
    role: str
    exists: bool
    is_superuser: bool
    #: It can log in, create roles, bypass row security, or is a member of another role. It needs
    #: none of that.
    may_more: bool
    #: Whether the installing role may transfer functions to it, and may grant itself that right.
    usable: bool
    grantable: bool
    uses_schema: bool
    creates_in_schema: bool
    inserts: bool
    #: Row security of the log refuses its rows.
    shut_out: bool
    memberships_have_options: bool

    @property
    def trusted(self) -> frozenset[str]:
        """Return the roles that a function may belong to."""
        owner = () if self.owned_by_superuser else (self.owner,)
        role = () if self.is_superuser else (self.role,)
        return frozenset((*owner, *role))


@dataclass(frozen=True, slots=True, kw_only=True)
class Definer:
    """The role that owns the functions, and the statements that `needs` to run before it can.

    `lend` and `take` run before and after functions are transferred: Note [Handing over].
    """

    name: str
    needs: tuple[str, ...] = ()
    lend: tuple[str, ...] = ()
    take: tuple[str, ...] = ()


def read(using: str, log: str, role: str) -> Roles | None:
    """Return the roles for the table `log` (a quoted name); None where it does not exist."""
    connection: Any = connections[using]
    options = connection.pg_version >= SET_OPTION
    with connection.cursor() as cursor:
        given = "'SET'" if options else "'MEMBER'"
        cursor.execute(_ROLES.format(given=given), [log, [*WRITTEN], role])
        row = cursor.fetchone()
    if row is None:
        return None
    schema, name, owner, owned, as_owner, me, superuser, creates_roles, grants, *rest = row
    exists, is_superuser, more, usable, grantable, uses, creates, inserts, shut_out = rest
    return Roles(
        log=Place(schema, name),
        owner=owner,
        owned_by_superuser=owned,
        as_owner=as_owner,
        me=me,
        superuser=superuser,
        creates_roles=creates_roles,
        grants_schema=grants,
        role=role,
        exists=exists,
        is_superuser=is_superuser,
        may_more=more,
        usable=usable,
        grantable=grantable,
        uses_schema=uses,
        creates_in_schema=creates,
        inserts=inserts,
        shut_out=shut_out,
        memberships_have_options=options,
    )


def choose(roles: Roles) -> Definer:
    """Return the owner for the functions. Pure. Raises `TriggersRefused` where there is none."""
    if roles.is_superuser:
        raise TriggersRefused(
            f"INTEGRITY['log_role'] is {roles.role!r}, which is a superuser: whoever deletes a row"
            " would run code as a superuser. Name a role that may only insert into the log"
        )
    if _can_be_made(roles) and _can_be_granted(roles):
        lent = f"CREATE ON SCHEMA {quoted(roles.log.schema)}", quoted(roles.role)
        lends = not (roles.superuser or roles.creates_in_schema)
        return Definer(
            name=roles.role,
            needs=tuple(_needs(roles)),
            lend=("GRANT {} TO {}".format(*lent),) if lends else (),
            take=("REVOKE {} FROM {}".format(*lent),) if lends else (),
        )
    if not roles.owned_by_superuser and roles.as_owner:
        return Definer(name=roles.owner)
    raise TriggersRefused(
        f"the triggers need the role {roles.role!r}, which {roles.me!r} cannot make or grant to,"
        f" and the log belongs to {roles.owner!r}"
        f"{', a superuser' if roles.owned_by_superuser else ''}. As a superuser, run:"
        f" {' '.join(remedy(roles))} Then run `manage.py integrity install-triggers`"
    )


def remedy(roles: Roles) -> Iterator[str]:
    """Yield what a superuser has to run before the installing role can do the rest. Pure."""
    role, me = quoted(roles.role), quoted(roles.me)
    if not roles.exists:
        yield f"CREATE ROLE {role} NOLOGIN;"
    yield f"GRANT {role} TO {me};"
    yield f"GRANT USAGE, CREATE ON SCHEMA {quoted(roles.log.schema)} TO {role};"
    yield f"GRANT INSERT ({', '.join(WRITTEN)}) ON {roles.log} TO {role};"
    if roles.shut_out:
        yield f"{_policy(roles)};"


def _can_be_made(roles: Roles) -> bool:
    if roles.superuser or (roles.exists and (roles.usable or roles.grantable)):
        return True
    # Before memberships had options, a role with CREATEROLE could grant any role.
    return roles.creates_roles and not (roles.exists and roles.memberships_have_options)


def _can_be_granted(roles: Roles) -> bool:
    schema = roles.grants_schema or (roles.uses_schema and roles.creates_in_schema)
    log = roles.as_owner or (roles.inserts and not roles.shut_out)
    return roles.superuser or (schema and log)


def _needs(roles: Roles) -> Iterator[str]:
    role, schema = quoted(roles.role), quoted(roles.log.schema)
    if not roles.exists:
        yield f"CREATE ROLE {role} NOLOGIN"
    if not (roles.superuser or roles.usable):
        options = " WITH INHERIT TRUE, SET TRUE" if roles.memberships_have_options else ""
        yield f"GRANT {role} TO CURRENT_USER{options}"
    if not roles.uses_schema:
        yield f"GRANT USAGE ON SCHEMA {schema} TO {role}"
    if not roles.inserts:
        yield f"GRANT INSERT ({', '.join(WRITTEN)}) ON {roles.log} TO {role}"
    if roles.shut_out:
        yield _policy(roles)


def _policy(roles: Roles) -> str:
    role = quoted(roles.role)
    return f"CREATE POLICY {POLICY} ON {roles.log} FOR INSERT TO {role} WITH CHECK (true)"
