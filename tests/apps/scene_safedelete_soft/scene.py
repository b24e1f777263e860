"""Soft deletes and their undoing. On two databases, by what the page of third-party apps shows."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from tests import snippets

from .accounts.models import Account
from .models import Parcel, Seal

GUIDE = snippets.ROOT / "docs" / "how-to" / "third-party-apps.md"
NAMES: dict[str, Any] = {"Account": Account, "Parcel": Parcel}

if len(settings.DATABASES) > 1:
    BLOCKS = [each.text for each in snippets.blocks(GUIDE, "python")]
    (RECIPE,) = (text for text in BLOCKS if "post_softdelete" in text)
    exec(compile(RECIPE, str(GUIDE), "exec"), NAMES)  # noqa: S102 (our own page)


def fill(user: Any) -> None:
    """Accounts that are there, deleted softly, and there again; each with a parcel and a seal."""
    _, deleted, restored = (account(user) for _ in range(3))
    deleted.delete()
    restored.delete()
    restored.undelete()
    if "catch_up" in NAMES:
        late = Parcel.objects.create(account_id=deleted.pk)
        NAMES["catch_up"]()
        Parcel.all_objects.get(pk=late.pk, deleted_by_cascade=True).delete(force_policy=0)


def account(user: Any) -> Account:
    """An account with two parcels, one of which was deleted softly by itself."""
    made: Account = Account.objects.create(owner=user)
    for _ in range(2):
        parcel = Parcel.objects.create(account=made)
        Seal.objects.create(parcel=parcel)
    parcel.delete()
    return made
