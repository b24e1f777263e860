"""Which known name is meant, if any."""

from __future__ import annotations

import pytest

from apps.integrity.exceptions import UnknownName
from apps.integrity.exceptions.suggestions import closest

KNOWN = ["blog_db", "shop_db", "auth.User", "blog.Post.author"]


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("blogdb", "blog_db"),
        ("SHOP_DB", "shop_db"),
        ("auth.Usr", "auth.User"),
        ("BLOG.POST.AUTHOR", "blog.Post.author"),
        ("blog.Post.autor", "blog.Post.author"),
        ("nope", ""),
        ("", ""),
    ],
)
def test_the_likely_name(name: str, likely: str) -> None:
    assert closest(name, KNOWN) == likely


def test_it_stands_before_the_list_of_all() -> None:
    error = UnknownName("child database", "blogdb", ["blog_db", "shop_db"])
    assert str(error) == (
        "unknown child database 'blogdb'; did you mean 'blog_db'? known: blog_db, shop_db"
    )
    assert error.known == ("blog_db", "shop_db")
    assert str(UnknownName("relation", "x", [])) == "unknown relation 'x'; known: none"
