"""A mixin for the admin of a model with relations into or out of other databases."""

from __future__ import annotations

import copy
import functools
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.options import TO_FIELD_VAR
from django.contrib.admin.utils import unquote
from django.core.exceptions import ObjectDoesNotExist
from django.db import models, router
from django.db.models import ProtectedError, Q, QuerySet, RestrictedError
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpResponseRedirect
from django.utils.html import format_html

from ... import relations
from ...capture import stating
from ...conf.steps import without_steps
from ...dashboard import permissions
from ...exceptions import ChildDatabaseUnavailable, InvalidKey
from ...exceptions.redaction import plain
from ...relations import relation
from ...relations.homes import databases_for
from ...relations.keys import parse_key
from ...report import elsewhere
from . import recorded, wording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.http import HttpRequest, HttpResponse

    Mixed = admin.ModelAdmin[Any]
else:
    Mixed = object

#: Number of selected parents whose rows elsewhere are counted before a delete.
PREVIEWED_PARENTS = 1_000
#: Number of rows in the other database that may match a search.
SEARCHED_ROWS = 1_000


class CrossDatabaseAdminMixin(Mixed):
    """For the admin of a model with relations into or out of other databases.

    Put it before `ModelAdmin`. The page that confirms a delete counts the rows in other databases,
    and a message links to their deletion. Lists show, sort and search fields of other databases
    without a JOIN and without a query per row: name them in `list_display` and `search_fields`.
    """

    @property
    def _parent(self) -> type[models.Model]:
        return relation.concrete(self.model)

    # Before a delete

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """Return what Django would, with the rows in other databases."""
        try:
            shown, counts, denied, refusing = super().get_deleted_objects(objs, request)
        except ChildDatabaseUnavailable as error:
            return [], {}, set(), [plain(error, 2_000)]
        to_delete, lacking, protected = list(shown), set(denied), list(refusing)
        if not protected:
            lacking |= self._lacking(objs, request)
        if not (protected or lacking or "post" in request.POST):
            to_delete += self._elsewhere(objs, request)
        return to_delete, dict(counts), lacking, protected

    def _lacking(self, objs: Any, request: HttpRequest) -> frozenset[str]:
        """Return names of models whose rows elsewhere the account may not delete with `objs`."""
        lacking = permissions.lacking(objs, self.model, request, self.admin_site)
        if lacking.unknown:
            self.message_user(request, permissions.UNKNOWN, messages.WARNING)
        return lacking.names

    def _elsewhere(self, objs: Any, request: HttpRequest) -> list[Any]:
        """Return a title and a line for each database, of models that the account may see."""

        def shown(model: type[models.Model]) -> bool:
            return permissions.may_see(relation.concrete(model), request, self.admin_site)

        parent = self._parent
        if parent._meta.label not in relations.catalogue().parents:
            return []
        keys = [obj.pk for obj in objs[: PREVIEWED_PARENTS + 1]]
        databases = elsewhere.effects_elsewhere(parent, keys[:PREVIEWED_PARENTS], shown)
        lines = wording.lines_of(databases, parent, len(keys))
        if len(keys) > PREVIEWED_PARENTS:
            lines.append(f"counted for the first {PREVIEWED_PARENTS:,} only")
        return ["Also in other databases:", lines] if lines else []

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Return Django's page; show a refusal as a message."""
        try:
            with stating.from_request(request):
                return super().delete_view(request, object_id, extra_context)
        except (ProtectedError, RestrictedError, ChildDatabaseUnavailable) as error:
            return self._refused(request, error)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Return Django's page; show a refusal of "delete selected" as a message."""
        try:
            with stating.from_request(request):
                return super().changelist_view(request, extra_context)
        except (ProtectedError, RestrictedError, ChildDatabaseUnavailable) as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: Exception) -> HttpResponseRedirect:
        """Return a redirect to the page that the user came from: nothing was deleted."""
        self.message_user(request, plain(error.args[0], 2_000), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    # After a delete

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete, and show a message about the rows in other databases."""
        key, newest = obj.pk, recorded.newest_ids(self._parent)
        super().delete_model(request, obj)
        self._tell(request, [key], newest)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete, and show a message about the rows in other databases."""
        keys = list(queryset.values_list("pk", flat=True))
        newest = recorded.newest_ids(self._parent)
        super().delete_queryset(request, queryset)
        self._tell(request, keys, newest)

    def _tell(
        self, request: HttpRequest, keys: Sequence[Any], newest: dict[str, int] | None
    ) -> None:
        databases = without_steps(relations.catalogue().databases_of(self._parent._meta.label))
        if not databases:
            return
        ids = recorded.recorded_since(newest, self._parent, keys)
        may_look = request.user.has_perm(_VIEW)
        where = " and ".join(databases) if may_look else "other databases"
        number = len(keys) if ids is None else sum(map(len, ids.values()))
        text = wording.after(number, len(keys), where)
        if ids and number and may_look:
            text = format_html("{} {}", text, recorded.links(ids, self.admin_site.name))
        level = messages.INFO if number == len(keys) else messages.WARNING
        self.message_user(request, text, level)

    # Pages of a row

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Return Django's page; a message links to the deletion that the log has of the key."""
        with stating.from_request(request):  # its inlines may delete
            response = super().change_view(request, object_id, form_url, extra_context)
        if request.method == "GET" and response.status_code == HTTPStatus.OK:
            self._tell_of_earlier(request, object_id)
        return response

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        """Return Django's redirect of a key without a row; a message links to its deletion."""
        django: Any = super()
        answer = django._get_obj_does_not_exist_redirect  # noqa: SLF001 (Django has no other hook)
        response: HttpResponse = answer(request, opts, object_id)
        self._tell_of_earlier(request, object_id)
        return response

    def _tell_of_earlier(self, request: HttpRequest, object_id: str) -> None:
        parent = self._parent
        known = parent._meta.label in relations.catalogue().parents
        if not (known and request.user.has_perm(_VIEW)) or TO_FIELD_VAR in request.GET:
            return
        try:
            key = parse_key(relation.primary_key(parent), unquote(object_id))
        except InvalidKey:
            return
        if earlier := recorded.earlier(parent, key, self.admin_site.name):
            is_open, sentence = earlier
            self.message_user(request, sentence, messages.WARNING if is_open else messages.INFO)

    # Lists

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return all rows; one query per relation fetches what they refer to elsewhere."""
        rows = super().get_queryset(request)
        return rows.prefetch_related(*(field.name for field in _remote(self.model)))

    def get_list_select_related(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the JOINs that Django would make, without those into other databases."""
        wanted: Any = super().get_list_select_related(request)
        remote = {field.name for field in _remote(self.model)}
        if isinstance(wanted, bool):
            fields = {field.name for field in self.model._meta.fields if field.many_to_one}
            columns = super().get_list_display(request)
            shown = {str(column).partition(LOOKUP_SEP)[0] for column in columns}
            wanted = sorted(fields if wanted else fields & shown)
        return tuple(path for path in wanted if path.partition(LOOKUP_SEP)[0] not in remote)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return the columns; one of another database shows "42 (missing)" for an orphan."""
        remote = {field.name: field for field in _remote(self.model)}
        return [
            _column(remote[_first(column)], column)
            if isinstance(column, str) and _first(column) in remote
            else column
            for column in super().get_list_display(request)
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return rows that match, and rows whose related rows in other databases match."""
        fields = list(self.get_search_fields(request))
        remote = {field.name: field for field in _remote(self.model)}
        away = [path for path in fields if _first(path) in remote]
        if not away or not search_term.strip():
            return super().get_search_results(request, queryset, search_term)
        local: Any = copy.copy(self)
        local.get_search_fields = lambda _: [path for path in fields if path not in away]
        rows, may_repeat = local.get_search_results(request, queryset, search_term)
        if len(away) == len(fields):
            rows = queryset.none()
        for name in dict.fromkeys(map(_first, away)):
            paths = [path.partition(LOOKUP_SEP)[2] for path in away if _first(path) == name]
            keys = self._matching(request, remote[name], paths, search_term)
            rows |= queryset.filter(**{f"{remote[name].attname}__in": keys})
        return rows, may_repeat

    def _matching(
        self, request: HttpRequest, field: Any, paths: Sequence[str], term: str
    ) -> list[Any]:
        """Return keys of rows in the other database that contain every word of `term`."""
        other, condition = field.remote_field.model, Q()
        for word in term.split():
            pairs = [(f"{path}{LOOKUP_SEP}icontains", word) for path in paths]
            condition &= Q(*pairs, _connector=Q.OR)
        target, matching = field.target_field.attname, list[Any]()
        for using in _read_in(relation.concrete(other)):
            rows: QuerySet[Any] = QuerySet(model=other, using=using)
            keys = rows.filter(condition).values_list(target, flat=True)
            matching += keys.order_by(target)[: SEARCHED_ROWS + 1]
        if len(matching) > SEARCHED_ROWS:
            names = other._meta.verbose_name_plural
            text = f"More than {SEARCHED_ROWS:,} {names} match; rows of the others are left out."
            self.message_user(request, text, messages.WARNING)
        return matching[:SEARCHED_ROWS]


_VIEW = "integrity.view_dashboard"


def _remote(model: type[models.Model]) -> tuple[Any, ...]:
    """Return fields of the model that point into another database."""
    known = relations.catalogue()
    remote = {key.field for key in (*known.relations, *known.ignored) if key.field.is_relation}
    return tuple(field for field in model._meta.fields if field in remote)


def _read_in(model: type[models.Model]) -> tuple[str, ...]:
    """Return where all rows of the model can be read: each shard, or what the router reads."""
    shards = databases_for(model)
    return shards if len(shards) > 1 else (router.db_for_read(model),)


def _first(path: str) -> str:
    """Return the field that a path of lookups begins with, as in "^author__username"."""
    return path.lstrip("^=@").partition(LOOKUP_SEP)[0]


def _column(field: Any, path: str) -> Callable[[models.Model], Any]:
    """Return a column that shows `path` in another database and sorts by the local key."""

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
