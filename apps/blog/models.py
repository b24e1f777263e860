"""Posts and comments: rows of `blog_db`, written by users of `default`."""

# The models stand as their documentation prints them.
# ruff: noqa: D101, DJ008, Q000
# fmt: off

from django.contrib.auth import get_user_model
from django.db import models

User = get_user_model()  # Lives in 'default' database


class Post(models.Model):
    title = models.CharField(max_length=200)
    content = models.TextField()

    # Cross-database ForeignKey to User
    author = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        related_name='blog_posts',
        db_constraint=False  # REQUIRED
    )

    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = 'blog_post'


class Comment(models.Model):
    post = models.ForeignKey(
        Post,
        on_delete=models.CASCADE,
        related_name='comments',
        # No db_constraint=False needed - same database
    )

    # Cross-database ForeignKey to User
    author = models.ForeignKey(
        User,
        on_delete=models.CASCADE,
        related_name='blog_comments',
        db_constraint=False  # REQUIRED
    )

    content = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
