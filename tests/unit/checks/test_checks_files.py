"""W039: files that stay, named with the setting that deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db.models.signals import post_delete

from apps.integrity.checks import files
from tests.kinds.filed.models import Attachment, Folder
from tests.kinds.left.models import Group

if TYPE_CHECKING:
    from tests.conftest import Tune

FIELD_FILES = "apps.integrity.contrib.erasure.FieldFiles"


def subjects() -> list[Any]:
    return [message.obj for message in files.left()]


def test_models_with_files_that_a_cascade_reaches_are_named_with_the_remedy() -> None:
    (message,) = (each for each in files.left() if each.obj is Attachment)
    assert (message.id, message.level) == ("integrity.W039", checks.WARNING)
    assert message.msg == (
        "Cascades along filed.Attachment.sender remove rows of filed.Attachment, and leave the"
        " files of filed.Attachment.file, filed.Attachment.portrait."
    )
    assert f'INTEGRITY["steps"] = {{"files": "{FIELD_FILES}"}}' in str(message.hint)
    assert Folder not in subjects()
    assert Group not in subjects()


def test_a_step_that_covers_them_ends_it(tune: Tune) -> None:
    tune(steps={"files": FIELD_FILES})
    assert subjects() == []


def test_a_step_for_other_models_does_not(tune: Tune) -> None:
    options = {"url": "https://a.example/", "secret_setting": "A", "models": {"shop.Order": "pk"}}
    tune(steps={"crm": ("apps.integrity.contrib.erasure.Webhook", options)})
    assert Attachment in subjects()


def test_a_step_that_cannot_be_made_is_another_checks_matter(tune: Tune) -> None:
    tune(steps={"files": "apps.integrity.Nothing"})
    assert subjects() == []


def test_a_receiver_of_the_model_ends_it() -> None:
    def delete_files(**_: Any) -> None: ...

    post_delete.connect(delete_files, sender=Attachment)
    try:
        assert Attachment not in subjects()
    finally:
        post_delete.disconnect(delete_files, sender=Attachment)
    post_delete.connect(delete_files)  # of all models: what it does to files is unknown
    try:
        assert Attachment in subjects()
    finally:
        post_delete.disconnect(delete_files)
