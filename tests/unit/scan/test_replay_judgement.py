"""Whether a row with an erased parent's key is the erased one."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity.log.ledger import Erased
from apps.integrity.scan.replay.judgement import BY_A_SCAN, SKEW, UNTOLD, creation_fields, verdict
from tests.kinds.parents.models import Owner

NOW = timezone.now()
BEFORE = NOW - dt.timedelta(days=1)


def erased(relation: str = "", **targets: str | None) -> Erased:
    return Erased("blog_db", uuid4(), "auth.User", relation, "7", targets, NOW)


@pytest.mark.parametrize(
    ("one", "values", "created", "said", "why"),
    [
        (erased(), {}, [BEFORE], "back", ""),
        (erased(), {}, [BEFORE, None], "back", ""),
        (erased(code="a"), {"code": "a"}, [], "back", ""),
        (erased(code=None), {"code": None}, [], "back", ""),
        (erased(code="a"), {"code": "a", "number": "1"}, [BEFORE], "back", ""),
        (erased(), {}, [], "unknown", UNTOLD),
        (erased(), {"code": "a"}, [None], "unknown", UNTOLD),
        (erased("blog.Post.author"), {}, [BEFORE], "unknown", BY_A_SCAN),
        (erased(code="a"), {"code": "b"}, [BEFORE], "reused", "its code is"),
        (erased(code="a"), {"code": "A"}, [], "reused", "its code is"),
        (erased(code="a"), {"code": None}, [], "reused", "its code is"),
        (erased(code="a"), {}, [BEFORE], "reused", "its code is"),
        (erased(code="a"), {"code": "a"}, [NOW + SKEW], "reused", "created after"),
        (erased(), {}, [BEFORE, NOW + SKEW], "reused", "created after"),
        (erased(), {}, [NOW - SKEW / 2], "reused", "created after"),  # the clocks may differ
        (erased(), {}, [NOW - SKEW * 2], "back", ""),
    ],
)
def test_the_decision(
    one: Erased, values: dict[str, str | None], created: list[Any], said: str, why: str
) -> None:
    found, reason = verdict(one, values, created)
    assert (found, why in reason, bool(reason)) == (said, True, said != "back")


def test_which_fields_say_when_a_row_was_created() -> None:
    names = [[field.name for field in creation_fields(model)] for model in (User, Post, Owner)]
    assert names == [["date_joined"], ["created_at"], []]
