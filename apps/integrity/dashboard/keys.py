"""Keys of parents, hidden from accounts that may not view the parent.

Numbers and UUIDs that a database generated identify nobody by themselves, so every account with
access to the pages sees them. Other primary keys, and `to_field` values, may be e-mail addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions.redaction import plain
from . import permissions, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

    from ..models import Deletion
    from ..report.receipts import Receipt
    from ..report.suspected import Missing

#: Shown in place of a key that the account may not see.
HIDDEN = "(hidden)"
#: The most characters of a key that are shown.
CHARACTERS = 200


class Keys:
    """The keys that one account is shown on one page."""

    def __init__(self, request: HttpRequest, site: AdminSite) -> None:
        self._request, self._site = request, site
        self._viewed: dict[str, bool] = {}

    def may_view(self, parent: str) -> bool:
        """Return whether the account may view rows of that parent (a label)."""
        if parent not in self._viewed:
            self._viewed[parent] = permissions.may_view_keys(parent, self._request, self._site)
        return self._viewed[parent]

    def may_search(self, parent: str) -> bool:
        """Return whether the account may search for a key: the answer tells whether it existed."""
        return permissions.tells_nothing(parent) or self.may_view(parent)

    def key(self, row: Deletion) -> str:
        """Return the deletion's primary key, or the values that a scan knows in its place."""
        return self._key(row.parent, row.key, row.targets)

    def suspect(self, parent: str, missing: Missing) -> str:
        """Return the same for a missing parent."""
        return self._key(parent, missing.key, missing.targets)

    def name(self, row: Deletion) -> str:
        """Return the parent and its key, for a title."""
        return f"{plain(row.parent, CHARACTERS)} {self.key(row)}".strip()

    def receipt(self, given: Receipt) -> Receipt:
        """Return the receipt with only the keys that are shown, without addresses of servers."""
        deletion = dict(given["deletion"])
        parent = deletion["parent"]
        if deletion["key"] is not None and not self.may_search(parent):
            deletion["key"] = HIDDEN
        if not self.may_view(parent):
            deletion["targets"] = dict.fromkeys(deletion["targets"], HIDDEN)
        deletion["reason"] = text.public(deletion["reason"])
        cascades = [
            {**cascade, "reason": text.public(cascade["reason"])} for cascade in given["cascades"]
        ]
        scope = [
            {**line, "not_counted": text.public(line["not_counted"])} for line in given["scope"]
        ]
        return {**given, "deletion": deletion, "cascades": cascades, "scope": scope}

    def _key(self, parent: str, key: str | None, targets: Mapping[str, Any] | None) -> str:
        if key is not None:
            return plain(key, CHARACTERS) if self.may_search(parent) else HIDDEN
        values = (
            f"{name} {value if self.may_view(parent) else HIDDEN}"
            for name, value in (targets or {}).items()
            if value is not None
        )
        return plain(", ".join(values), CHARACTERS)
