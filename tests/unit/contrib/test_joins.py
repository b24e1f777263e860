"""At which step a path leaves its database. What databases say: test_check_joins.py."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from apps.blog.models import Comment, Post
from apps.integrity.contrib.admin import joins
from tests.kinds.left.models import Label, Profile, Shelf
from tests.kinds.parents.models import Owner


def test_a_step_says_where_it_leads() -> None:
    step = joins.crossing(Comment, "post__author__username")
    assert step == joins.JoinHop(Post, "author", User)
    assert str(step) == "blog.Post.author leads from 'blog_db' to 'default'"


def test_a_key_that_is_a_primary_key_is_a_column_too() -> None:
    assert joins.crossing(Profile, "pk") is None
    assert joins.crossing(Profile, "owner__pk") is None
    assert joins.crossing(Profile, "pk__name") == joins.JoinHop(Profile, "owner", Owner)


def test_select_related_follows_no_nullable_key() -> None:
    assert joins.selecting_all(Shelf) is not None  # Shelf.root
    assert joins.selecting_all(Label) is None  # Label.shelf is nullable
    assert str(joins.selecting(Label, "shelf__root")).startswith("left.Shelf.root ")


def test_models_that_sort_by_each_other_end_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Post._meta, "ordering", ["comments"])
    monkeypatch.setattr(Comment._meta, "ordering", ["post"])
    assert joins.sorting(Comment, "post") is None
    monkeypatch.setattr(Comment._meta, "ordering", ["post", "author__username"])
    assert joins.sorting(Post, "comments") == joins.JoinHop(Comment, "author", User)


@pytest.mark.parametrize("path", ["nothing", "title__nothing", "content"])
def test_what_is_no_relation_leads_nowhere(path: str) -> None:
    assert joins.crossing(Post, path) is joins.sorting(Post, path) is None
    assert joins.selecting(Post, path) is None
