"""The verbs of `manage.py integrity`: a module each, with `HELP`, `add_arguments`, `run`, `render`.

To add one, write the module and name it in `MODULES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import (
    acknowledge,
    alerts,
    doctor,
    drain,
    grants,
    install_triggers,
    pause,
    preview,
    purge,
    receipt,
    receipts,
    relations,
    rename,
    repair,
    resume,
    retry,
    scan,
    status,
)

if TYPE_CHECKING:
    from ..verb import Verb

#: In the order of `--help`.
MODULES = (
    relations,
    preview,
    status,
    drain,
    scan,
    repair,
    retry,
    acknowledge,
    pause,
    resume,
    rename,
    receipt,
    receipts,
    purge,
    doctor,
    alerts,
    install_triggers,
    grants,
)

VERBS: dict[str, Verb] = {
    module.__name__.rpartition(".")[2].replace("_", "-"): module for module in MODULES
}
