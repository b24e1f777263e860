"""The verbs of `manage.py integrity`, a module each: see `verb.Verb`.

To add one, write the module and name it in `GROUPS`.
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
    replay,
    resume,
    retry,
    scan,
    status,
)

if TYPE_CHECKING:
    from ..verb import Verb

#: What verbs are for, in the order of `--help`.
GROUPS: dict[str, tuple[Verb, ...]] = {
    "Look": (status, doctor, relations, preview),
    "Work": (drain, scan, repair, replay),
    "Operate": (pause, resume, retry, acknowledge),
    "Prove": (receipt, receipts, purge),
    "Set up": (install_triggers, grants, rename, alerts),
}


def name_of(verb: Verb) -> str:
    """Return the name that is typed, as in "install-triggers"."""
    return verb.__name__.rpartition(".")[2].replace("_", "-")


VERBS: dict[str, Verb] = {name_of(verb): verb for group in GROUPS.values() for verb in group}
