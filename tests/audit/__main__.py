"""`./run audit [--offline]`: unsafe code, known vulnerabilities, secrets in the history.

Exit code 0: nothing found; 3: findings; 4: none, but something could not be looked at.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from . import advisories, history, unsafe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .finding import Outcome

FINDINGS, INCOMPLETE = 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the three parts; return the exit code."""
    parser = argparse.ArgumentParser(prog="./run audit", description=__doc__)
    parser.add_argument("--offline", action="store_true", help="without the package index")
    options = parser.parse_args(arguments)
    parts = (unsafe, history) if options.offline else (unsafe, history, advisories)
    outcomes = [_shown(part.audit()) for part in parts]
    if any(each.findings for each in outcomes):
        return FINDINGS
    return INCOMPLETE if any(each.incomplete for each in outcomes) else 0


def _shown(outcome: Outcome) -> Outcome:
    words = [f"{len(outcome.findings)} findings"] if outcome.findings else []
    words += [f"incomplete: {outcome.incomplete}"] if outcome.incomplete else []
    verdict = "; ".join(words) or "nothing found"
    sys.stdout.write(f"{outcome.looked_at}: {verdict}\n")
    sys.stdout.write("".join(f"  {line}\n" for line in outcome.findings))
    sys.stdout.flush()
    return outcome


if __name__ == "__main__":
    sys.exit(main())
