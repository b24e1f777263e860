"""Cross-database relations: their discovery, their keys, and what a delete does along them."""

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
