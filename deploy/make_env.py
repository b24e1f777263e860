"""`python3 deploy/make_env.py`: write .env from .env.example, with a random value for each secret.

It never changes an existing .env. It only needs Python.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EMPTY = re.compile(r"^(\w+(?:_PASSWORD|_KEY|_AUTH))=$", re.MULTILINE)


def filled(example: str) -> str:
    """Return the text with a value for each empty secret."""
    return EMPTY.sub(lambda match: f"{match[1]}={value_for(match[1])}", example)


def value_for(name: str) -> str:
    """Return a random value that can be part of a URL: only letters, digits, "-" and "_"."""
    value = secrets.token_urlsafe(48)
    return f"admin:{value}" if name == "FLOWER_BASIC_AUTH" else value


def main(folder: Path = ROOT) -> int:
    """Write the file, readable by its owner only; return the exit code."""
    try:
        descriptor = os.open(folder / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stderr.write(".env already exists; nothing was changed.\n")
        return 1
    with os.fdopen(descriptor, "w") as file:
        file.write(filled((folder / ".env.example").read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
