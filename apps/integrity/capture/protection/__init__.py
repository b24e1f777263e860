"""PROTECT and RESTRICT across databases, asked while Django collects what a delete takes along.

Note [When Django asks]: PROTECT refuses as soon as a row refers; RESTRICT only where the row itself
does not go, which nobody knows before everything was collected (`Collector.collect`, its tail). So
the question is put among the Collector's own restricted objects: Django subtracts what it collected
from each of them, at the end of a collection and nowhere else, and there the question is answered.
What then restricts stands beside it, where Django finds it and raises its own error.
"""

from __future__ import annotations

from .question import ask

__all__ = ["ask"]
