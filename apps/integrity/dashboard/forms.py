"""Forms that validate what operators type."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.db.models import BigIntegerField

from .. import relations
from ..report import limits
from ..report.filters import Shown
from ..report.lists import Place
from .id_ranges import ROOM, Range, ranges_in

#: Ages in seconds.
AGES = [
    ("", "any age"),
    (300, "5 minutes"),
    (3_600, "1 hour"),
    (86_400, "1 day"),
    (604_800, "1 week"),
    (2_592_000, "30 days"),
]
_ID = re.compile(r"[1-9]\d{0,17}")


def _child_databases() -> list[tuple[str, str]]:
    return [(alias, alias) for alias in relations.catalogue().child_databases]


def _places() -> list[tuple[str, str]]:
    return [(place, place) for place in relations.catalogue().places]


def _relations() -> list[tuple[str, str]]:
    return [(relation.label, relation.label) for relation in relations.catalogue().relations]


def _parents() -> list[tuple[str, str]]:
    return [("", "any"), *((label, label) for label in relations.catalogue().parents)]


def _logs() -> list[tuple[str, str]]:
    return [(using, using) for using in relations.catalogue().log_databases]


class DatabaseForm(forms.Form):
    """A child database or an erasure step, and an optional reason."""

    database = forms.ChoiceField(choices=_places)
    reason = forms.CharField(max_length=500, required=False)


class PauseForm(DatabaseForm):
    """A pause, which needs a reason for whoever is on call next."""

    reason = forms.CharField(max_length=500)


class ResumeForm(DatabaseForm):
    """A resume. To accept the identity of other parents, or a restore, needs a confirmation."""

    accept_identity = forms.BooleanField(required=False)
    accept_restore = forms.BooleanField(required=False)


class ScanForm(forms.Form):
    """One relation in one child database."""

    relation = forms.ChoiceField(choices=_relations)
    database = forms.ChoiceField(choices=_child_databases)


class RepairForm(forms.Form):
    """The relation, typed again to confirm it; and the reason for overriding the brake, if any."""

    relation = forms.ChoiceField(choices=_relations)
    confirmation = forms.CharField(max_length=200)
    override = forms.CharField(max_length=500, required=False)

    def clean(self) -> dict[str, Any]:
        """Refuse a confirmation that does not name the relation."""
        cleaned = super().clean() or {}
        if cleaned.get("confirmation", "").strip() != cleaned.get("relation"):
            self.add_error("confirmation", "This is not the name of the relation.")
        return cleaned


def _id_field() -> forms.IntegerField:
    return forms.IntegerField(
        required=False, min_value=1, max_value=BigIntegerField.MAX_BIGINT, widget=forms.HiddenInput
    )


class PageForm(forms.Form):
    """Which page of which log to list: rows with ids `before` one, or `after` one."""

    log = forms.ChoiceField(choices=_logs, required=False)
    before = _id_field()
    after = _id_field()
    order = forms.ChoiceField(
        choices=[("", "newest first"), ("oldest", "oldest first")], required=False
    )

    @property
    def place(self) -> Place:
        """Return where the page is."""
        chosen = self.cleaned_data
        return Place(
            before=chosen["before"],
            after=None if chosen["before"] is not None else chosen["after"],
            oldest_first=bool(chosen["order"]),
        )


class AuditForm(PageForm):
    """Which rows of the audit to list."""

    actor = forms.CharField(max_length=200, required=False, label="Who")
    verb = forms.CharField(max_length=50, required=False, label="What")
    target = forms.CharField(max_length=200, required=False, label="To what")

    @property
    def is_searched(self) -> bool:
        """Return whether only some rows are wanted."""
        return any(self[name].value() for name in ("actor", "verb", "target"))


class IdsField(forms.CharField):
    """Ids of deletions, such as "3,7-12"."""

    def clean(self, value: Any) -> list[Range]:
        """Return the ranges; none if nothing is chosen."""
        text = super().clean(value)
        try:
            return ranges_in(text) if text else []
        except ValueError:
            raise forms.ValidationError("These are not ids, such as 3,7-12.") from None


class SearchForm(PageForm):
    """Which deletions to list."""

    ids = IdsField(max_length=ROOM, required=False, widget=forms.HiddenInput)
    model = forms.ChoiceField(choices=_parents, required=False, label="Parent")
    key = forms.CharField(max_length=200, required=False)
    reference = forms.CharField(max_length=200, required=False)
    state = forms.ChoiceField(choices=[("", "any"), *Shown.choices], required=False)
    database = forms.ChoiceField(
        choices=lambda: [("", "any"), *_places()], required=False, label="Child database"
    )
    age = forms.TypedChoiceField(
        choices=AGES, coerce=int, empty_value=None, required=False, label="Older than"
    )


class ChosenField(forms.Field):
    """The ids of the rows that were ticked on a page."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> list[int]:
        """Return the ids."""
        texts = [str(text) for text in value or ()]
        if not texts:
            raise forms.ValidationError("No deletion was chosen: tick some first.")
        if len(texts) > limits.PAGE_ROWS or not all(map(_ID.fullmatch, texts)):
            raise forms.ValidationError("These are not the rows of a page.")
        return sorted({int(text) for text in texts})


class ChosenForm(forms.Form):
    """Deletions of one log that were ticked, and the query of the page that they were on."""

    log = forms.ChoiceField(choices=_logs)
    deletion = ChosenField()
    back = forms.CharField(max_length=4_000, required=False)
