"""What a guide for the person on call consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A name that may stand in a command in place of a placeholder: no option, no shell syntax.
NAME = re.compile(r"\w[\w.@-]{0,199}", re.ASCII)
CODE = re.compile(r"`([^`]+)`")
#: Where a guide refers to another one.
OTHER = re.compile(r"guide `(\w+)`")
MARKUP = re.compile(r"guide `(?P<guide>\w+)`|`(?P<code>[^`]+)`")


@dataclass(frozen=True, slots=True)
class Look:
    """A command that changes nothing, and what its output tells."""

    command: str
    tells: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """What to do about one kind of fault. Text between backticks is code.

    Names in capitals within commands stand for values. `subject` is the one that stands for the
    subject of the fault, or "" if the fault has none that a command takes.
    """

    kind: str
    title: str
    subject: str = ""
    means: str
    look: tuple[Look, ...]
    steps: tuple[str, ...]
    #: When the fault is over, and what shows it.
    over: str
    #: What is not lost while it lasts.
    safe: str

    def addressed(self, subject: str) -> Guide:
        """Return the guide with a fault's subject in its commands. Pure."""
        if not self.subject or not NAME.fullmatch(subject):
            return self

        def named(text: str) -> str:
            return re.sub(rf"\b{self.subject}\b", lambda _: subject, text)

        return replace(
            self,
            look=tuple(Look(named(look.command), named(look.tells)) for look in self.look),
            steps=tuple(map(named, self.steps)),
            over=named(self.over),
        )

    def commands(self) -> Iterator[str]:
        """Yield everything that the guide tells the reader to type."""
        yield from (look.command for look in self.look)
        for text in (*self.steps, self.over):
            yield from (code for code in CODE.findall(text) if code.startswith(PROGRAMS))


#: How a command begins, or a statement of SQL.
PROGRAMS = ("manage.py ", "celery ", "SELECT ", "COMMIT ", "ROLLBACK ", "GRANT ", "VACUUM ")
