"""The admin of posts and comments; their authors live in another database."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.contrib import admin

from apps.integrity.admin import CrossDatabaseAdminMixin

from .models import Comment, Post

if TYPE_CHECKING:
    PostModelAdmin = admin.ModelAdmin[Post]
    CommentModelAdmin = admin.ModelAdmin[Comment]
else:
    PostModelAdmin = CommentModelAdmin = admin.ModelAdmin


@admin.register(Post)
class PostAdmin(CrossDatabaseAdminMixin, PostModelAdmin):
    """Posts, by title, content or author."""

    list_display = ("title", "author", "created_at")
    list_filter = ("created_at",)
    search_fields = ("title", "content", "author__username", "author__email")
    autocomplete_fields = ("author",)


@admin.register(Comment)
class CommentAdmin(CrossDatabaseAdminMixin, CommentModelAdmin):
    """Comments, by content, author or the title of their post."""

    list_display = ("content", "post__title", "author", "created_at")
    list_filter = ("created_at",)
    # The post lives beside its comments: a JOIN is right here.
    list_select_related: ClassVar = ("post",)
    search_fields = ("content", "post__title", "author__username", "author__email")
    autocomplete_fields = ("post", "author")
