"""Files of posts, in the database of the posts."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.blog.models import Post


class Attachment(models.Model):
    """A file of a post."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="attachments")
    file = models.FileField(db_index=True)

    #: Named, because type checkers only know the apps of config.settings.
    objects: ClassVar[models.Manager[Attachment]] = models.Manager()

    def __str__(self) -> str:
        """Return the name of the file."""
        return str(self.file)
