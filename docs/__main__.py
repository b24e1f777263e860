"""`./run docs [--write]`: build the pages; with `--write`, regenerate docs/reference first."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sphinx.cmd.build import build_main

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / ".sandbox" / "docs"
#: Treat every warning and every broken reference as an error. Needs no network.
STRICT = ("--quiet", "--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env")


def main() -> int:
    """Build the pages. Return Sphinx's exit code."""
    parser = argparse.ArgumentParser(prog="./run docs", description=__doc__)
    parser.add_argument("--write", action="store_true", help="regenerate docs/reference")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    options = parser.parse_args()
    if options.write:
        write()
    code = build_main([*STRICT, "--builder=html", str(HERE), str(options.output)])
    if code == 0:
        sys.stdout.write(f"{options.output / 'index.html'}\n")
    return code


def write() -> None:
    """Write the generated pages from the code, without a database."""
    import django

    from sandbox import environment

    os.environ |= environment.placeholders() | environment.for_django(debug=False)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from . import generate

    for path in generate.write():
        sys.stderr.write(f"{path.relative_to(HERE.parent)} written\n")


if __name__ == "__main__":
    sys.exit(main())
