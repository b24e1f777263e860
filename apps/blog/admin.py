"""The admin of posts and comments; their authors live in another database."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from apps.remote_user import RemoteUserAdmin, name_of

from .models import Comment, Post


@admin.register(Post)
class PostAdmin(RemoteUserAdmin):
    """Posts, by title, content or author."""

    user_field = "author"
    list_display = ("title", "author_name", "created_at")
    list_filter = ("created_at",)
    search_fields = ("title", "content")
    autocomplete_fields = ("author",)

    @admin.display(description="author", ordering="author_id")
    def author_name(self, post: Post) -> str:
        """The author's name, sorted by the key: a local column."""
        return name_of(post, "author")


@admin.register(Comment)
class CommentAdmin(RemoteUserAdmin):
    """Comments, by content, author or the title of their post."""

    user_field = "author"
    list_display = ("content", "post__title", "author_name", "created_at")
    list_filter = ("created_at",)
    # The post lives beside its comments: a JOIN is right here.
    list_select_related: ClassVar = ("post",)
    search_fields = ("content", "post__title")
    autocomplete_fields = ("post", "author")

    @admin.display(description="author", ordering="author_id")
    def author_name(self, comment: Comment) -> str:
        """The author's name, sorted by the key: a local column."""
        return name_of(comment, "author")
