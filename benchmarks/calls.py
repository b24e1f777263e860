"""`python -m benchmarks.calls [--functions] [--json]`: the calls that one row takes.

It runs one delete, its dispatch, its cascade, its verification and one tick of a scan on SQLite,
with a user and one post. It counts calls of functions of `apps/integrity`; comprehensions and
lambdas count as part of the surrounding function, and each resumption of a generator is a call.
A hop is a call into a different file than the previous call. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

PACKAGE = Path(__file__).resolve().parent.parent / "apps" / "integrity"
#: Names of code objects that count as part of the surrounding function.
INNER = frozenset({"<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>", "<lambda>"})
#: The profiler's event for a call and for the resumption of a generator.
CALL = "call"


class Calls:
    """Counts the calls in a `with` block. Replaces the thread's profile function meanwhile."""

    def __init__(self) -> None:
        self.functions: Counter[tuple[str, str]] = Counter()
        self.hops = 0
        self._last = ""

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if event != CALL or name in INNER or not path.startswith(f"{PACKAGE}{os.sep}"):
            return
        self.functions[path, frame.f_code.co_qualname] += 1
        self.hops += path != self._last
        self._last = path

    def figures(self) -> dict[str, int]:
        """Return the numbers of calls, distinct functions, files and hops."""
        return {
            "calls": self.functions.total(),
            "functions": len(self.functions),
            "files": len({path for path, _ in self.functions}),
            "hops": self.hops,
        }

    def paths(self) -> list[str]:
        """Return the files in the order in which they were first entered."""
        return list(dict.fromkeys(os.path.relpath(path, PACKAGE) for path, _ in self.functions))

    def most_called(self) -> Iterator[str]:
        """Yield a line for each function, the most called first."""
        for (path, name), number in self.functions.most_common():
            yield f"{number:6} {Path(path).relative_to(PACKAGE)} {name}"


def measure() -> dict[str, Calls]:
    """Return the counts by step. Counts the second run, when caches are warm.

    Call it in a new process: it sets up Django, with databases in a temporary directory.
    """
    with tempfile.TemporaryDirectory() as directory:
        _set_up(directory)
        _once()
        return _once()


def _set_up(directory: str) -> None:
    aliases = {
        "DATABASE_URL": "users",
        "DATABASE_URL_BLOG_DB": "blog",
        "DATABASE_URL_SHOP_DB": "shop",
    }
    for variable, name in aliases.items():
        os.environ[variable] = f"sqlite:///{directory}/{name}.sqlite3"
    os.environ |= {
        "BROKER_URL": "memory://",
        "SECRET_KEY": "x" * 50,
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.test.signals import setting_changed

    for alias in settings.DATABASES:
        call_command("migrate", database=alias, verbosity=0)
    # Verification is due at once, no worker is notified, and a slow machine takes no more steps.
    settings.INTEGRITY |= {"wakeups": False, "grace_seconds": 0.001, "statement_seconds": 60.0}
    setting_changed.send(sender=None, setting="INTEGRITY", value=settings.INTEGRITY, enter=True)


def _once() -> dict[str, Calls]:
    from django.contrib.auth import get_user_model

    from apps.blog.models import Post
    from apps.integrity import cascade, scan
    from apps.integrity.cascade import verification
    from apps.integrity.queues import dispatch

    author: Any = get_user_model().objects.create(username="author")
    Post.objects.create(author=author, title="title", content="content")
    counted = {name: Calls() for name in ("delete", "dispatch", "cascade", "verify", "scan")}
    with counted["delete"]:
        author.delete()
    with counted["dispatch"]:
        list(dispatch.fan_out("default"))
    with counted["cascade"]:
        cascade.drain("blog_db")
    cascade.drain("shop_db")
    if Post.objects.exists():
        raise RuntimeError("the cascade left its row")
    with counted["verify"]:
        verification.verify("blog_db")
    verification.verify("shop_db")
    with counted["scan"]:
        scan.scan("blog_db")
    return counted


def main() -> None:
    """Print a line for each step, or with --json one document."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--functions", action="store_true", help="list the functions, too")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    counted = measure()
    figures = {name: calls.figures() for name, calls in counted.items()}
    if given.json:
        paths = {name: {"paths": calls.paths()} for name, calls in counted.items()}
        _say(json.dumps({name: figures[name] | paths[name] for name in figures}))
        return
    for name, calls in counted.items():
        _say(f"{name}: {', '.join(f'{value} {what}' for what, value in figures[name].items())}")
        for line in calls.most_called() if given.functions else ():
            _say(line)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
