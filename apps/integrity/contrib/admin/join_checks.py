"""Options of the admin that JOIN across databases, each with its remedy.

Note [Who answers]: an option is checked where Django's own method reads it, or the method of our
mixin, which avoids some JOINs. Where a project overrides that method, the option is not checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from django.apps import apps
from django.core import checks
from django.db import models
from django.db.models.constants import LOOKUP_SEP

from ... import declared, relations
from ...checks.scope import concerns, scoped
from . import joins

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from django.apps import AppConfig

    from ...relations import Model, Relation
    from .joins import JoinHop

PACKAGE = declared.__package__
KNOWN = DJANGO, OURS = "django.contrib.admin.options", f"{PACKAGE}.contrib.admin.mixin"
#: An option, the value in it, and the JOIN that the value needs.
Found: TypeAlias = "tuple[str, object, JoinHop]"

MIXIN = (
    f"from {PACKAGE}.admin import CrossDatabaseAdminMixin;"
    " class {name}(CrossDatabaseAdminMixin, ...)"
)
HINTS = {
    "list_display": f"{MIXIN}. Or: list_select_related = ()",
    "list_display, sorted": f"{MIXIN}. Or leave it out of: sortable_by = (...)",
    "list_select_related": f"list_select_related without {{value!r}}; to fetch it, too: {MIXIN}",
    "search_fields": f"search_fields without {{value!r}}; where it begins with the key: {MIXIN}",
    "ordering": "A column of its own database in place of {value!r}: ordering = ('-pk',)",
    "list_filter": "list_filter without {value!r}: the key itself can be a filter, its fields"
    " cannot",
    "date_hierarchy": "date_hierarchy = None, or a date of its own database",
}


def joined(app_configs: Collection[AppConfig] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """W005: an option of an admin makes its list JOIN another database."""
    if not _keys() or not apps.is_installed("django.contrib.admin"):
        return []
    return [
        checks.Warning(
            f"{_name(admin)}.{option.partition(',')[0]} names {value!r}: {step}, and no database"
            " can JOIN them.",
            hint=HINTS[option].format(name=type(admin).__name__, value=value),
            obj=type(admin),
            id="integrity.W005",
        )
        for admin in _registered()
        if concerns(admin.model, app_configs)
        for option, value, step in _found(admin)
    ]


def _registered() -> list[Any]:
    """Return the registered ModelAdmins; one that several sites register counts once."""
    from django.contrib.admin.sites import all_sites

    admins = {
        (type(admin), model): admin
        for site in sorted(all_sites, key=lambda site: site.name)
        for model in apps.get_models()
        if site.is_registered(model) and (admin := site.get_model_admin(model))
    }
    return list(admins.values())


def _found(admin: Any) -> Iterator[Found]:
    for option in (_selected, _columns, _searched, _ordered, _filtered):
        yield from option(admin)
    if admin.date_hierarchy and (step := joins.crossing(admin.model, admin.date_hierarchy)):
        yield "date_hierarchy", admin.date_hierarchy, step


def _selected(admin: Any) -> Iterator[Found]:
    """Yield the JOINs of Django's `ChangeList.apply_select_related` into other databases."""
    model, wanted = admin.model, admin.list_select_related
    answers = _answers(admin, "get_list_select_related")
    if answers == DJANGO and wanted is True:
        if step := joins.selecting_all(model):
            yield "list_select_related", True, step
    elif answers == DJANGO and wanted is False:
        yield from _shown(admin)
    elif answers in KNOWN and not isinstance(wanted, bool):
        for path in _listed(wanted):
            step = joins.selecting(model, path)
            if step and not (answers == OURS and _begins_elsewhere(model, path)):
                yield "list_select_related", path, step


def _shown(admin: Any) -> Iterator[Found]:
    """Yield the JOINs that Django makes for the keys among the columns.

    Since Django 6.1, it JOINs each of these keys, nullable ones too. Before, one of them made it
    JOIN all keys of the model that are not null, and those of their parents.
    """
    from django.contrib.admin.views.main import ChangeList

    each = hasattr(ChangeList, "get_select_related_fields")
    for name in _shown_keys(admin):
        step = joins.selecting(admin.model, name) if each else joins.selecting_all(admin.model)
        if step:
            yield "list_display", name, step
            return


def _shown_keys(admin: Any) -> Iterator[str]:
    """Yield the columns that are keys, by the name of the key."""
    if _answers(admin, "get_list_display") != DJANGO:
        return
    for name in filter(_is_text, _listed(admin.list_display)):
        field = joins.field_of(admin.model, name)
        if isinstance(field, models.ForeignKey) and name == field.name:
            yield name


def _columns(admin: Any) -> Iterator[Found]:
    """Yield the JOINs that a click on the head of a column makes."""
    answers, model = _answers(admin, "get_list_display"), admin.model
    if answers not in KNOWN or _answers(admin, "get_sortable_by") != DJANGO:
        return
    columns = _listed(admin.list_display)
    sortable = columns if admin.sortable_by is None else _listed(admin.sortable_by)
    for column in columns:
        path = _sorts_by(admin, column)
        mended = answers == OURS and _is_text(column) and _begins_elsewhere(model, column)
        if path and column in sortable and not mended and (step := joins.sorting(model, path)):
            yield "list_display, sorted", column, step


def _sorts_by(admin: Any, column: Any) -> str:
    """Return the path that a column sorts by; "" where it sorts by no path."""
    if _is_text(column) and joins.field_of(admin.model, column.partition(LOOKUP_SEP)[0]):
        return str(column)
    method = column if callable(column) else getattr(admin, column, None)
    order: Any = getattr(method or getattr(admin.model, column, None), "admin_order_field", "")
    return next(iter(joins.ordered_by([order])), "") if order else ""


def _searched(admin: Any) -> Iterator[Found]:
    answers, model = _answers(admin, "get_search_results"), admin.model
    if answers not in KNOWN or _answers(admin, "get_search_fields") != DJANGO:
        return
    for search_field in _listed(admin.search_fields):
        start, path = model, str(search_field).lstrip("^=@")
        if answers == OURS and _begins_elsewhere(model, path):
            # The mixin asks the other database with the rest of the path.
            first, _, path = path.partition(LOOKUP_SEP)
            start = joins.field_of(model, first).related_model
        if step := joins.crossing(start, path):
            yield "search_fields", search_field, step


def _ordered(admin: Any) -> Iterator[Found]:
    if _answers(admin, "get_ordering") != DJANGO:
        return
    for expression in _listed(admin.ordering):
        for path in joins.ordered_by([expression]):
            step = (joins.sorting if _is_text(expression) else joins.crossing)(admin.model, path)
            if step:
                yield "ordering", expression, step


def _filtered(admin: Any) -> Iterator[Found]:
    from django.contrib.admin.filters import RelatedOnlyFieldListFilter

    if _answers(admin, "get_list_filter") != DJANGO:
        return
    for entry in _listed(admin.list_filter):
        path, kind = entry if isinstance(entry, (list, tuple)) else (entry, None)
        if not _is_text(path):  # a filter of the project's own
            continue
        step = joins.crossing(admin.model, path)
        if not step and isinstance(kind, type) and issubclass(kind, RelatedOnlyFieldListFilter):
            # It takes the keys of this list as a subquery on the other table.
            step = joins.selecting(admin.model, path)
        if step:
            yield "list_filter", path, step


def _answers(admin: Any, method: str) -> str:
    """Return the module of the method that reads an option. See Note [Who answers]."""
    return str(getattr(getattr(type(admin), method), "__module__", ""))


def _begins_elsewhere(model: Model, path: str) -> bool:
    """Return whether a path begins with a relation, so that our mixin avoids the JOIN."""
    field = joins.field_of(model, path.partition(LOOKUP_SEP)[0])
    return any(relation.field is field for relation in _keys())


def _keys() -> tuple[Relation, ...]:
    """Return all keys between databases, those that the settings ignore among them."""
    return relations.catalogue().relations + relations.catalogue().ignored


def _listed(value: Any) -> Sequence[Any]:
    """Return an option's value; nothing if it is no list, which Django's own checks report."""
    return value if isinstance(value, (list, tuple)) else ()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _name(admin: Any) -> str:
    return f"{type(admin).__module__}.{type(admin).__qualname__}"


def sorted_elsewhere(**_: Any) -> list[checks.CheckMessage]:
    """E010: a `Meta.ordering` that JOINs another database, so no row can be listed."""
    return [
        checks.Error(
            f"{model._meta.label} has Meta.ordering by {path!r}: {step},"
            " and no database can JOIN them.",
            hint=f"In {model._meta.label}: class Meta: ordering = ['pk']",
            obj=model,
            id="integrity.E010",
        )
        for model in _models()
        for path in joins.ordered_by(model._meta.ordering)
        if (step := joins.sorting(model, path))
    ]


def _models() -> Iterator[Model]:
    return (model for model in apps.get_models() if not model._meta.proxy)


CHECKS = scoped(joined, sorted_elsewhere)
