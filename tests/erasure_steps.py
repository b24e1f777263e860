"""Erasure steps for tests: files in a directory, whose names rows hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from apps.blog.models import Comment, Post
from apps.integrity.erasure import Found, Step
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django.db.models import Model, QuerySet

#: Model → the column that holds the name of a file.
NAMES: dict[Any, str] = {Post: "title", Comment: "content", Order: "order_number"}


class Files(Step):
    """Removes the files of posts, comments and orders. Tests may replace what it does."""

    #: Called with the items before a step does its work, so that a test may let it fail.
    before_collect: ClassVar[Callable[[Any], object] | None] = None
    before_erase: ClassVar[Callable[[Any], object] | None] = None
    answer: ClassVar[Callable[[Any], Found] | None] = None
    #: What each call of `erase` and of `probe` was asked for.
    erased: ClassVar[list[list[str]]] = []
    probed: ClassVar[list[list[str]]] = []

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def covers(self, model: type[Model]) -> bool:
        return model in NAMES

    def collect(self, rows: QuerySet[Any]) -> Iterable[str]:
        names = [*rows.values_list(NAMES[rows.model], flat=True)]
        if (before := type(self).before_collect) is not None:
            before(names)
        return names

    def erase(self, items: Sequence[Any]) -> None:
        self.erased.append([*items])
        if (before := type(self).before_erase) is not None:
            before(items)
        for name in items:
            (self.directory / name).unlink(missing_ok=True)

    def probe(self, items: Sequence[Any]) -> Found:
        self.probed.append([*items])
        if (answer := type(self).answer) is not None:
            return answer(items)
        there = any((self.directory / name).exists() for name in items)
        return Found.SOME if there else Found.NONE


class Refusing(Step):
    """Refuses its options."""

    def __init__(self) -> None:
        raise ValueError("no bucket")


class NoStep:
    """A class that is no step."""
