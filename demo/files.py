"""The files of posts: rows of `demo.attachments` that name them, and the files themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from apps.blog.models import Post
from demo.attachments.models import Attachment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.contrib.auth.models import User


def attach(users: Sequence[User]) -> None:
    """Give each post of those accounts a file, as a form for uploads does."""
    for post in Post.objects.filter(author_id__in=[user.pk for user in users]):
        attachment = Attachment(post=post)
        attachment.file.save(f"post-{post.pk}.txt", ContentFile(b"A file."))


def names(users: Iterable[User]) -> list[str]:
    """Return the names of the files of those accounts, which their rows in blog_db hold."""
    files = Attachment.objects.filter(post__author_id__in=[user.pk for user in users])
    return [*files.values_list("file", flat=True)]


def left(given: Iterable[str]) -> int:
    """Return how many of the files with those names exist."""
    return sum(map(default_storage.exists, given))
