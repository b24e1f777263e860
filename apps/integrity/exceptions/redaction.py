"""Foreign text as one printable line, and foreign exceptions as a safe description. Pure.

Errors, names and keys come from servers, signal receivers, users and messages. They pass through
this module before they are stored, logged, shown or printed. `plain` removes control characters and
limits the length. `reason_of_error` quotes no rows.

Note [No prose]: the message of a server's or receiver's error may quote rows ("Key (email)=(…)
already exists"). So its text is not used. The description has only what identifies the error: its
class, its code, and the names of table, column and constraint.
"""

from __future__ import annotations

import errno
import itertools
import re
import reprlib
from typing import TYPE_CHECKING, Any

from django.db import Error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

#: The most characters of a line.
LIMIT = 500
ELLIPSIS = "…"
#: Characters that are read for each one that is returned: runs of spaces become one.
SAMPLE = 4
#: Exceptions that a foreign `__str__` may raise. Not KeyboardInterrupt, which comes from a user.
RAISED = (Exception, SystemExit, GeneratorExit)
#: Characters that `str.isprintable` accepts and that are invisible.
INVISIBLE = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)
#: Drivers whose errors begin with the server's number.
MYSQL_DRIVERS = ("MySQLdb", "pymysql", "mysql.connector")
#: Modules whose exceptions are known by their short names.
WELL_KNOWN = ("builtins", "django", "psycopg", "sqlite3", *MYSQL_DRIVERS)
#: The beginning of PostgreSQL's error context, in the server's language.
FUNCTION = re.compile(r"PL/pgSQL[^\n(]{1,40}? ([^\s(]{1,100}\([^()\n]{0,200}\)) ")
#: A reason names at most this many causes of an error.
CAUSES = 2
#: A reason names at most this many members of an exception group.
MEMBERS = 3
#: At most this many rows of a ProtectedError are examined for their models.
SEEN = 100
_bounded = reprlib.Repr()
_bounded.maxlist = _bounded.maxtuple = _bounded.maxset = _bounded.maxfrozenset = 50
_bounded.maxdict, _bounded.maxstring, _bounded.maxother = 50, 200, 200


def plain(text: object, limit: int = LIMIT) -> str:
    r"""Return `text` in one line of at most `limit` characters, all of which are printable.

    Each run of white space becomes a space; any other character that shows nothing or steers a
    terminal is written as an escape ("\x1b"). What is cut ends with an ellipsis. Never raises.
    """
    if limit < 1:
        return ""
    whole = text if type(text) is str else _text_of(text)
    sample = whole[: limit * SAMPLE]
    if not (sample.isascii() and sample.isprintable()):
        sample = "".join(map(_visible, sample))
    line = " ".join(sample.split())
    if len(line) <= limit and len(whole) <= limit * SAMPLE:
        return line
    return line[: limit - 1].rstrip() + ELLIPSIS


def _text_of(value: object) -> str:
    """Return `value` as exactly a `str`, whatever its own methods do."""
    try:
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value[: LIMIT * SAMPLE]).decode(errors="backslashreplace")
        if isinstance(value, list | tuple | dict | set | frozenset):
            return _bounded.repr(value)
        return str.__str__(str(value))
    except RAISED:
        return f"<{_class_name(value)}>"


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    if character.isprintable() and character not in INVISIBLE:
        return character
    return character.encode("unicode_escape").decode("ascii")


def reason_of_error(error: BaseException) -> str:
    """Return a safe description of `error` in one line. See Note [No prose]. Never raises.

    For an error of this app, it is its text. For another error it has the class, the code, the
    names of table, column and constraint, the signal receiver that raised it, and the same of its
    causes.
    """
    try:
        return plain(_quotable_text(error) or _description(error))
    except RAISED:
        return f"<{_class_name(error)}>"


def code_of(error: BaseException) -> str:
    """Return the code that the server or the driver gave: SQLSTATE, number or name; or ""."""
    driver = error.__cause__ if isinstance(error, Error) and error.__cause__ else error
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if isinstance(code := getattr(driver, name, None), str):
            return plain(code, 40)
    first = driver.args[0] if driver.args else None
    is_number = isinstance(first, int) and not isinstance(driver, OSError | KeyError)
    return str(first) if is_number and type(driver).__module__.startswith(MYSQL_DRIVERS) else ""


def receiver_of(error: BaseException) -> str:
    """Return the dotted path of the innermost receiver of a signal that raised `error`, or ""."""
    receiver, sends = "", False
    step: TracebackType | None = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        module = str(frame.f_globals.get("__name__", ""))
        was_sent, sends = sends, module == "django.dispatch.dispatcher"
        if was_sent and not sends:
            receiver = f"{module}.{frame.f_code.co_qualname}"
        step = step.tb_next
    return receiver


def _quotable_text(error: BaseException) -> str:
    if not getattr(type(error), "safe_to_quote", False):
        return ""
    return f"{type(error).__name__}: {_text_of(error)}"


def _description(error: BaseException) -> str:
    words = _identified(error)
    if receiver := receiver_of(error):
        words += f" in receiver {receiver}"
    causes = [_quotable_text(cause) or _identified(cause) for cause in _causes(error)]
    return ", from ".join((words, *causes))


def _identified(error: BaseException) -> str:
    """Return the class of `error`, its code, and the names that the server gave."""
    words = [_class_name(error), code_of(error)]
    if isinstance(error, OSError) and isinstance(error.errno, int):
        words.append(errno.errorcode.get(error.errno, f"errno {error.errno}"))
    if isinstance(error, BaseExceptionGroup):
        words.append(f"of {len(error.exceptions)}:")
        words.append(", ".join(map(_class_name, error.exceptions[:MEMBERS])))
    if names := ", ".join(_names(error)):
        words.append(f"({names})")
    return " ".join(filter(None, words))


def _names(error: BaseException) -> Iterator[str]:
    diagnosis = getattr(error, "diag", None) or getattr(error.__cause__, "diag", None)
    for what in ("table", "column", "constraint"):
        if name := getattr(diagnosis, f"{what}_name", None):
            yield f"{what} {plain(name, 100)}"
    # The name of the trigger or function that raised the error, and nothing else of the context.
    if raised_by := FUNCTION.match(_text_of(getattr(diagnosis, "context", None) or "")):
        yield f"function {plain(raised_by[1], 100)}"
    # The models of the rows in Django's ProtectedError and RestrictedError.
    for what in ("protected_objects", "restricted_objects"):
        objects = itertools.islice(getattr(error, what, None) or (), SEEN)
        labels = {f"rows of {plain(type(row)._meta.label, 100)}" for row in objects}
        yield from sorted(labels)[:MEMBERS]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the causes of `error`, but not the driver's error below Django's own."""
    for _ in range(CAUSES):
        cause = error.__cause__
        if cause is None or isinstance(error, Error):
            return
        yield cause
        error = cause


def _class_name(value: Any) -> str:
    """Return the name of the value's class, with its module unless that is well known."""
    try:
        kind = type(value)
        module, name = str(kind.__module__), str(kind.__qualname__)
        is_known = module.split(".", maxsplit=1)[0] in WELL_KNOWN or module in WELL_KNOWN
        return plain(name if is_known else f"{module}.{name}", 200)
    except RAISED:
        return "object"
