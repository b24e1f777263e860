"""Why rows are deleted, and by whom: stated around the deletes, recorded with each of them.

What is stated is a context variable, so each thread and each asyncio task has its own. A deletion's
INSERT takes it along, and no statement is added. What a trigger records learns it by another way:
backends/postgresql/triggers/telling.py.

Note [Asked when it is needed]: the middleware and the admin know who asks only by `request.user`,
which may have to be read first. So their actor is a function, called once, at the first deletion.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from django.db import models

from ..exceptions import InvalidBecause
from ..exceptions.redaction import plain
from ..models import STATED_CHARS, Stated
from .deadlines import due_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from django.http import HttpRequest

    from .deadlines import Deadline


def because(
    *,
    actor: str | models.Model = "",
    reference: str = "",
    reason: str = "",
    deadline: Deadline | None = None,
) -> Because:
    """Record with each deletion in this block who deletes, on whose request, and why.

    `with capture.because(actor=request.user, reference="DSR-123"): user.delete()`. A block inside
    another one replaces what it names. Use it once; it holds for its own thread or asyncio task.

    Write ids and no names or e-mail addresses: all three are in the log and on the receipt for as
    long as these are kept.

    Args:
        actor: Who deletes, such as "support:12"; of a saved user or other model instance, its model
            and primary key are taken ("auth.User:7"). At most 200 characters.
        reference: The request or ticket, such as "DSR-123", by which deletions can be searched. At
            most 200 characters.
        reason: Why, in one line of at most 500 characters.
        deadline: By when the deletions have to be verified: days after the delete, a timedelta
            after it, or a datetime with its zone. Instead of what `INTEGRITY["deadline_days"]`
            says, which has to be set.

    Raises:
        InvalidBecause: nothing is stated, or it cannot be recorded. Nothing was deleted.
    """
    who = _label(actor) if isinstance(actor, models.Model) else _checked("actor", actor, "actor")
    said = Stated(
        who,
        _checked("reference", reference, "reference"),
        _checked("reason", reason, "because"),
        "" if deadline is None else due_by(deadline),
    )
    if not any(said):
        raise InvalidBecause(
            "capture.because() states nothing: give actor, reference, reason or deadline"
        )
    return Because(said)


def from_request(request: HttpRequest) -> Because:
    """Return a block whose actor is the user of the request, unless another one is stated.

    It does not read the user before something is deleted.
    """
    return Because(Stated(), functools.partial(_user_of, request))


class Because:
    """A block of `because`, for `with`. Each is used once."""

    def __init__(self, said: Stated, find_actor: Callable[[], str] | None = None) -> None:
        self._said, self._find_actor = said, find_actor
        self._outer: Because | None = None
        self._is_used = False

    def __enter__(self) -> None:
        """Begin the block."""
        if self._is_used:
            raise RuntimeError("a block of capture.because() is used once: call it for each `with`")
        self._is_used, self._outer = True, _innermost.get()
        _innermost.set(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the block, and those inside it that were not ended."""
        block = _innermost.get()
        while block is not None and block is not self:
            block = block._outer  # noqa: SLF001 (its own class)
        if block is self:  # not in a generator that another context closes
            _innermost.set(self._outer)

    def stated(self) -> Stated:
        """Return what is stated here, and for what is not named, what the outer block states."""
        outer = self._outer.stated() if self._outer else Stated()
        merged = Stated(*(mine or theirs for mine, theirs in zip(self._said, outer, strict=True)))
        if self._find_actor is None or merged.actor:
            return merged
        find, self._find_actor = self._find_actor, None  # it may delete itself, as a session's end
        try:
            self._said = Stated(find())
        except BaseException:
            self._find_actor = find
            raise
        return merged._replace(actor=self._said.actor)


_innermost: ContextVar[Because | None] = ContextVar("integrity_because", default=None)


def current() -> Stated | None:
    """Return what is stated where this is called; None if nothing is."""
    block = _innermost.get()
    said = None if block is None else block.stated()
    return said if said is not None and any(said) else None


def is_stated() -> bool:
    """Return whether the caller is in a block, which may state nothing in the end."""
    return _innermost.get() is not None


def _checked(name: str, text: Any, column: str) -> str:
    """Return a text as it is recorded. The message never quotes it: it may be anything."""
    most = STATED_CHARS[column]
    if not isinstance(text, str):
        raise InvalidBecause(
            f"capture.because(): {name} is of type {type(text).__name__}, and has to be text"
        )
    line = " ".join(text.split(" ")).strip()
    if len(line) > most:
        raise InvalidBecause(
            f"capture.because(): {name} has {len(line):,} characters, and may have {most}"
        )
    if plain(line, most) != " ".join(line.split()) or not line.isprintable():
        raise InvalidBecause(
            f"capture.because(): {name} has characters that cannot be printed, such as a line's end"
        )
    return plain(line, most)


def _label(row: models.Model) -> str:
    """Return the model and the primary key of a row."""
    # Not of type(row), which is that of a lazy object for `request.user`.
    label = cast("type[models.Model]", row._meta.concrete_model)._meta.label
    if row.pk is None:
        raise InvalidBecause(f"capture.because(): actor is a {label} that is not saved")
    return _checked("actor", f"{label}:{row.pk}", "actor")


def _user_of(request: HttpRequest) -> str:
    """Return the user of a request; "" where it has none, or one that is no row (any more)."""
    user: Any = getattr(request, "user", None)
    return _label(user) if isinstance(user, models.Model) and user.pk is not None else ""
