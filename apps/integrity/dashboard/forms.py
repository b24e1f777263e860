"""Forms that validate what operators type."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import BigIntegerField

from .. import relations
from ..models import Cascade, Deletion
from .id_ranges import ROOM, Range, ranges_in


def _child_databases() -> list[tuple[str, str]]:
    return [(alias, alias) for alias in relations.catalogue().child_databases]


def _relations() -> list[tuple[str, str]]:
    return [(relation.label, relation.label) for relation in relations.catalogue().relations]


def _parents() -> list[tuple[str, str]]:
    return [("", "any"), *((label, label) for label in relations.catalogue().parents)]


def _logs() -> list[tuple[str, str]]:
    return [(using, using) for using in relations.catalogue().log_databases]


class DatabaseForm(forms.Form):
    """A child database and an optional reason."""

    database = forms.ChoiceField(choices=_child_databases)
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


class PageForm(forms.Form):
    """Which log to list. The page shows rows with ids below `before`."""

    log = forms.ChoiceField(choices=_logs, required=False)
    before = forms.IntegerField(
        required=False, min_value=1, max_value=BigIntegerField.MAX_BIGINT, widget=forms.HiddenInput
    )


class IdsField(forms.CharField):
    """Ids of deletions, such as "3,7-12"."""

    def clean(self, value: Any) -> list[Range]:
        """Return the ranges; none if nothing is chosen."""
        text = super().clean(value)
        try:
            return ranges_in(text) if text else []
        except ValueError:
            raise forms.ValidationError("These are no ids, such as 3,7-12.") from None


class SearchForm(PageForm):
    """Which deletions to list."""

    ids = IdsField(max_length=ROOM, required=False, widget=forms.HiddenInput)
    model = forms.ChoiceField(choices=_parents, required=False, label="Parent")
    key = forms.CharField(max_length=200, required=False)
    state = forms.ChoiceField(
        choices=[
            ("", "any"),
            (Cascade.State.BLOCKED, "blocked in a database"),
            *Deletion.State.choices,
        ],
        required=False,
    )
