"""Every policy with MariaDB on either side."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from apps.blog.models import Post

pytestmark = pytest.mark.usefixtures("committed")


def test_a_post_follows_its_author(integrity_drain) -> None:
    user = get_user_model().objects.create(username="ada")
    other = get_user_model().objects.create(username="bob")
    for author in (user, other):
        Post.objects.create(author=author)
    user.delete()
    integrity_drain()
    assert Post.objects.count() == 1
