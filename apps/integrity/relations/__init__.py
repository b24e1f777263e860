"""What crosses databases: relations, their catalogue, and what a delete means along them."""

from __future__ import annotations

from .discovery import Catalogue, catalogue, discover, holds, log_databases
from .relation import Field, Model, Relation

__all__ = [
    "Catalogue",
    "Field",
    "Model",
    "Relation",
    "catalogue",
    "discover",
    "holds",
    "log_databases",
]
