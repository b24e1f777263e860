"""Secrets in any commit, found by detect-secrets in each line that was ever added."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

from .finding import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Randomness alone makes no secret: hashes, keys of rows and digests look the same.
LEFT_OUT = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"}
FILTERS = (
    "detect_secrets.filters.heuristic.is_sequential_string",
    "detect_secrets.filters.heuristic.is_potential_uuid",
    "detect_secrets.filters.heuristic.is_templated_secret",
    "detect_secrets.filters.heuristic.is_indirect_reference",
)
#: What stands where a secret would: in examples, and in tests of servers that live for a minute.
PLACEHOLDERS = {
    "PASSWORD",
    "change me",
    "secure_password",
    *("a password", "correct horse", "hidden", "late", "newcomer", "none", "password", "pw"),
    *("secret", "site", "a secret of both", "another", "CRM_SECRET"),
    *("NO_SECRET", "ENV_SECRET"),
    *("only-for-this-test", "SELECT password FROM auth_user", "tests/acceptance/test_passwords.py"),
    "ann@example.org",
    "a benchmark has no secrets",
    "a-test-key-of-more-than-fifty-characters-0123456789-ABCDEFGHIJ",
}
#: Hashes of packages.
LOCKS = ":!requirements*.txt"


def audit() -> Outcome:
    """Look through the history of this commit; name the file and the kind, never the secret."""
    if _git("rev-parse", "--is-shallow-repository").strip() == "true":
        return Outcome("history", (), "this clone is shallow: git fetch --unshallow")
    commits = _git("rev-list", "--count", "HEAD").strip()
    plugins = [
        {"name": plugin.__name__}
        for plugin in get_mapping_from_secret_type_to_class().values()
        if plugin.__name__ not in LEFT_OUT
    ]
    settings = {"plugins_used": plugins, "filters_used": [{"path": each} for each in FILTERS]}
    with transient_settings(settings):
        findings = {
            f"{file}: {secret.type}"
            for file, line in _added()
            for secret in scan_line(line)
            if secret.secret_value not in PLACEHOLDERS
        }
    return Outcome(f"detect-secrets: the lines of {commits} commits", tuple(sorted(findings)))


def _added() -> Iterator[tuple[str, str]]:
    """Each line that a commit added, with its file; the same line once."""
    file, seen = "", set[str]()
    options = ("--patch", "--no-color", "--no-renames", "--unified=0", "--diff-merges=first-parent")
    for line in _git("log", *options, "HEAD", "--", ".", LOCKS).splitlines():
        if line.startswith("+++ "):
            file = line.removeprefix("+++ b/")
        elif line.startswith("+") and line not in seen:
            seen.add(line)
            yield file, line[1:]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, check=True)
    return done.stdout.decode(errors="replace")
