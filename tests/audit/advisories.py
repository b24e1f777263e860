"""Known vulnerabilities of the locked packages, asked of the package index by pip-audit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .finding import Outcome


def audit() -> Outcome:
    """Ask for each lock. What the index has no answer for is incomplete, and not sound."""
    locks = sorted(map(str, Path().glob("requirements*.txt")))
    findings: list[str] = []
    silent: set[str] = set()
    count = 0
    for lock in locks:
        for package in _dependencies(lock):
            count += 1
            if "skip_reason" in package:
                silent.add(str(package["name"]))
            for each in package.get("vulns", ()):
                fixed = ", ".join(each["fix_versions"]) or "no release yet"
                line = f"{lock}: {package['name']} {package['version']} {each['id']}"
                findings.append(f"{line} (fixed in {fixed})")
    return Outcome(
        f"pip-audit: {count} pins of {len(locks)} locks",
        tuple(findings),
        f"the index told nothing about {len(silent)} packages" if silent else "",
    )


def _dependencies(lock: str) -> list[dict[str, object]]:
    options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--requirement", lock, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except json.JSONDecodeError:
        last = done.stderr.strip().splitlines()[-1:]
        raise RuntimeError(f"pip-audit ended without a report: {' '.join(last)}") from None
