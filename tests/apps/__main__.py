"""`python -m tests.apps [NAME…] [--list]`: compare one database with two, for each third-party app.

Each app has a scene: models that use it, rows for three users, of whom two are deleted (one by its
instance, one by a queryset). The scene is played by plain Django on one database, and with this app
on two; then the rows of both are compared. Exit code 0 only where all are the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .scenes import SCENES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scenes import Scene

SECONDS = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the scenes that are named, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="./run test-apps", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="these only")
    parser.add_argument("--list", action="store_true", help="names of the apps")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.names} - SCENES.keys()):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(SCENES)}")
    chosen = [SCENES[name] for name in options.names or SCENES]
    if options.list:
        sys.stdout.write("".join(f"{each.name} {each.shows}\n" for each in chosen))
        return 0
    passed = sum([_same(each) for each in chosen])
    sys.stdout.write(f"{passed} passed, {len(chosen) - passed} failed\n")
    return 0 if passed == len(chosen) else 1


def _same(scene: Scene) -> bool:
    """Play a scene both ways; say whether the rows are the same, and show what is not."""
    name = f"{scene.name} {version(scene.distribution)}"
    try:
        plain, spread = _play(scene.name, "one"), _play(scene.name, "two")
    except subprocess.SubprocessError as error:
        output = getattr(error, "stderr", "") or ""
        sys.stdout.write(f"{name}: did not end well: {error}\n{output[-3_000:]}\n")
        return False
    if not any(plain["gone"].values()):
        sys.stdout.write(f"{name}: nothing was removed, so nothing was compared\n")
        return False
    differences = [
        f"  {label}: one database {plain['rows'][label]}, two {rows}"
        for label, rows in spread["rows"].items()
        if rows != plain["rows"][label]
    ]
    differences += [f"  check: {each}" for each in spread["errors"]]
    removed = ", ".join(f"{number} {label}" for label, number in plain["gone"].items() if number)
    sys.stdout.write(f"{name}: {'differs' if differences else 'the same'} ({removed} removed)\n")
    sys.stdout.write("".join(f"{each}\n" for each in differences))
    return not differences


def _play(name: str, databases: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.apps.play", name, databases],
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    played: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return played


if __name__ == "__main__":
    sys.exit(main())
