"""PROTECT and RESTRICT across databases, checked while Django collects what a delete removes.

Note [When Django asks]: PROTECT refuses as soon as a row refers. RESTRICT refuses only if the row
itself stays, which is known only after everything was collected (the end of `Collector.collect`).
So the question is placed among the Collector's restricted objects. Django subtracts what it
collected from each of them, at the end of a collection and nowhere else; there it is answered. The
rows that restrict are put beside it, where Django finds them and raises its own error.
"""

from __future__ import annotations

from .question import ask

__all__ = ["ask"]
