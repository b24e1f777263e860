"""A mixin for the admin of a model with relations into or out of other databases."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, models, router, transaction
from django.db.models import ProtectedError, Q, QuerySet, RestrictedError
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from ... import relations
from ...backends import connections
from ...dashboard import permissions
from ...dashboard.text import count
from ...exceptions import ChildDatabaseUnavailable, DatabaseUnreachable
from ...exceptions.redaction import plain
from ...relations import relation
from ...relations.homes import databases_for
from ...report import elsewhere, receipts

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    from django.http import HttpRequest, HttpResponse

    from ...report.elsewhere import Elsewhere
    from ...report.preview import Effect

    Mixed = admin.ModelAdmin[Any]
else:
    Mixed = object

#: Of a selection, so many parents are looked up elsewhere before a delete.
PREVIEWED_PARENTS = 1_000
#: Of the other database, so many rows may match a search.
SEARCHED_ROWS = 1_000


class CrossDatabaseAdminMixin(Mixed):
    """For the admin of a model with relations into or out of other databases.

    Put it before `ModelAdmin`. Deleting says beforehand what goes elsewhere, and afterwards where
    to watch it. Lists show, sort and search rows of other databases without a JOIN, which could not
    work, and without a query for each row: name such fields in `list_display` and `search_fields`
    as ever.
    """

    # Before a delete

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """What Django would show, and what goes in other databases."""
        try:
            found = super().get_deleted_objects(objs, request)
        except ChildDatabaseUnavailable as error:
            return [], {}, set(), [plain(error, 2_000)]
        to_delete, protected = list(found[0]), list(found[3])
        lacking = set(found[2])
        if not protected:
            lacking |= self._lacking(objs, request)
        if not (protected or lacking or "post" in request.POST):
            to_delete += self._elsewhere(objs, request)
        return to_delete, dict(found[1]), lacking, protected

    def _lacking(self, objs: Any, request: HttpRequest) -> frozenset[str]:
        """Names of models elsewhere of which the account may not delete what goes with `objs`."""
        found = permissions.lacking(objs, self.model, request, self.admin_site)
        if found.unknown:
            self.message_user(request, permissions.UNKNOWN, messages.WARNING)
        return found.names

    def _elsewhere(self, objs: Any, request: HttpRequest) -> list[Any]:
        """A title and a line for each database, of models that the account may see."""

        def shown(model: type[models.Model]) -> bool:
            return permissions.may_see(relation.concrete(model), request, self.admin_site)

        parent = relation.concrete(self.model)
        if parent._meta.label not in relations.catalogue().parents:
            return []
        keys = [each.pk for each in objs[: PREVIEWED_PARENTS + 1]]
        found = elsewhere.effects_elsewhere(parent, keys[:PREVIEWED_PARENTS], shown)
        lines = [line for line in map(_line, found) if line]
        if len(keys) > PREVIEWED_PARENTS:
            lines.append(f"counted for the first {PREVIEWED_PARENTS:,} only")
        return ["Also in other databases:", lines] if lines else []

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's, with a refusal shown as a message."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except (ProtectedError, RestrictedError, ChildDatabaseUnavailable) as error:
            return self._refused(request, error)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's, with a refusal of "delete selected" shown as a message."""
        try:
            return super().changelist_view(request, extra_context)
        except (ProtectedError, RestrictedError, ChildDatabaseUnavailable) as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: Exception) -> HttpResponseRedirect:
        """Back to where the user came from: nothing was deleted."""
        self.message_user(request, plain(error.args[0], 2_000), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    # After a delete

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete, and say where to watch what follows."""
        key = obj.pk
        super().delete_model(request, obj)
        self._tell(request, [key])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete, and say where to watch what follows."""
        keys = list(queryset.values_list("pk", flat=True))
        super().delete_queryset(request, queryset)
        self._tell(request, keys)

    def _tell(self, request: HttpRequest, keys: Sequence[Any]) -> None:
        parent = relation.concrete(self.model)
        databases = relations.catalogue().databases_of(parent._meta.label)
        if not databases:
            return
        may_look = request.user.has_perm(_VIEW)
        where = " and ".join(databases) if may_look else "other databases"
        text = f"What refers to it in {where} follows in the background."
        if len(keys) != 1:
            text = f"What refers to these {len(keys):,} in {where} follows in the background."
        link = self._link(parent, keys) if may_look else ""
        message = format_html('{} <a href="{}">Watch it.</a>', text, link) if link else text
        self.message_user(request, message, messages.INFO)

    def _link(self, parent: type[models.Model], keys: Sequence[Any]) -> str:
        """Return the address of the deletion's page; of several deletions, that of their list."""
        name, site = "admin:integrity_dashboard_deletion", self.admin_site.name
        if len(keys) == 1:
            try:
                found = [
                    each for using in databases_for(parent) for each in _newest(parent, keys, using)
                ]
            except (DatabaseError, DatabaseUnreachable):
                return ""
            if found:
                _, using, pk = max(found)
                return reverse(name, args=[using, pk], current_app=site)
        address = reverse(f"{name}s", current_app=site)
        return f"{address}?model={parent._meta.label}"

    # Lists

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """All rows; one query for each other database fetches what they refer to there."""
        rows = super().get_queryset(request)
        return rows.prefetch_related(*(each.name for each in _remote(self.model)))

    def get_list_select_related(self, request: HttpRequest) -> tuple[str, ...]:
        """The JOINs that Django would make, but for those into other databases."""
        wanted: Any = super().get_list_select_related(request)
        remote = {each.name for each in _remote(self.model)}
        if isinstance(wanted, bool):
            fields = {each.name for each in self.model._meta.fields if each.many_to_one}
            shown = {
                str(each).partition(LOOKUP_SEP)[0] for each in super().get_list_display(request)
            }
            wanted = sorted(fields if wanted else fields & shown)
        return tuple(each for each in wanted if each.partition(LOOKUP_SEP)[0] not in remote)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """The columns; one of another database shows "42 (missing)" for an orphan."""
        remote = {each.name: each for each in _remote(self.model)}
        return [
            _column(remote[_first(each)], each)
            if isinstance(each, str) and _first(each) in remote
            else each
            for each in super().get_list_display(request)
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows that match here, and rows whose relatives in other databases match there."""
        fields = list(self.get_search_fields(request))
        remote = {each.name: each for each in _remote(self.model)}
        away = [each for each in fields if _first(each) in remote]
        if not away or not search_term.strip():
            return super().get_search_results(request, queryset, search_term)
        local: Any = copy.copy(self)
        local.get_search_fields = lambda _: [each for each in fields if each not in away]
        found, may_repeat = local.get_search_results(request, queryset, search_term)
        if len(away) == len(fields):
            found = queryset.none()
        for name in dict.fromkeys(map(_first, away)):
            paths = [each.partition(LOOKUP_SEP)[2] for each in away if _first(each) == name]
            keys = self._matching(request, remote[name], paths, search_term)
            found |= queryset.filter(**{f"{remote[name].attname}__in": keys})
        return found, may_repeat

    def _matching(
        self, request: HttpRequest, field: Any, paths: Sequence[str], term: str
    ) -> list[Any]:
        """Keys of rows in the other database in which each word is found."""
        other, condition = field.remote_field.model, Q()
        for word in term.split():
            pairs = [(f"{path}{LOOKUP_SEP}icontains", word) for path in paths]
            condition &= Q(*pairs, _connector=Q.OR)
        target, found = field.target_field.attname, list[Any]()
        for using in _read_in(relation.concrete(other)):
            rows: QuerySet[Any] = QuerySet(model=other, using=using)
            keys = rows.filter(condition).values_list(target, flat=True)
            found += keys.order_by(target)[: SEARCHED_ROWS + 1]
        if len(found) > SEARCHED_ROWS:
            names = other._meta.verbose_name_plural
            text = f"More than {SEARCHED_ROWS:,} {names} match; rows of the others are left out."
            self.message_user(request, text, messages.WARNING)
        return found[:SEARCHED_ROWS]


_VIEW = "integrity.view_dashboard"


def _newest(
    parent: type[models.Model], keys: Sequence[Any], using: str
) -> list[tuple[dt.datetime, str, int]]:
    """Return when each of the newest deletions in one log was recorded, the log, and its id.

    A role that may record deletions need not be one that reads them: an error leaves the request's
    transaction usable.
    """
    connections.reach(using)
    with transaction.atomic(using=using):
        found = receipts.newest(parent, keys, using=using)
    return [(deletion.recorded_at, using, deletion.pk) for deletion in found]


def _line(found: Elsewhere) -> str:
    """One line for one database."""
    if found.uncounted:
        return f"{found.database}: cannot be counted now; what is there is deleted all the same"
    by_policy: dict[str, list[str]] = {}
    for effect in found.effects:
        if effect["rows"]:
            by_policy.setdefault(effect["policy"], []).append(_counted(effect))
    parts = [f"{', '.join(parts)} ({policy})" for policy, parts in by_policy.items()]
    return f"{found.database}: {', '.join(parts)}" if parts else ""


def _counted(effect: Effect) -> str:
    app, model, _ = effect["relation"].split(".", 2)
    meta = apps.get_model(app, model)._meta
    name = meta.verbose_name if effect["rows"] == 1 else meta.verbose_name_plural
    return f"{count(effect['rows'])} {name}"


def _remote(model: type[models.Model]) -> tuple[Any, ...]:
    """Fields of the model that point into another database."""
    remote = {each.field for each in relations.catalogue().relations if each.field.is_relation}
    return tuple(each for each in model._meta.fields if each in remote)


def _read_in(model: type[models.Model]) -> tuple[str, ...]:
    """Return where all rows of the model can be read: each shard, or what the router reads."""
    shards = databases_for(model)
    return shards if len(shards) > 1 else (router.db_for_read(model),)


def _first(path: str) -> str:
    """The field that a path of lookups begins with, as in "^author__username"."""
    return path.lstrip("^=@").partition(LOOKUP_SEP)[0]


def _column(field: Any, path: str) -> Callable[[models.Model], Any]:
    """A column that follows `path` into another database, sorted by the key: a local column."""

    def column(row: models.Model) -> Any:
        try:
            return functools.reduce(getattr, path.split(LOOKUP_SEP), row)
        except ObjectDoesNotExist:
            return f"{getattr(row, field.attname)} (missing)"

    column.__name__ = path
    return admin.display(
        column,
        description=field.verbose_name,
        ordering=field.attname if path == field.name else None,
    )
