"""PROTECT and RESTRICT across databases, checked while Django collects what a delete removes.

Note [When the check runs]: PROTECT refuses a delete if a row refers to a deleted row. RESTRICT
refuses it only if the referring row is not deleted as well, which is known at the end of
`Collector.collect`. There Django subtracts the collected rows from each set of restricted objects,
and nowhere else. So a `Question` is added to the restricted objects: its `__sub__` runs the check.
The check adds the restricting rows beside it, and Django raises its own `RestrictedError`.
"""

from __future__ import annotations

from .question import ask

__all__ = ["ask"]
