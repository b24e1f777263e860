"""The privileges that each database role needs, and no more, as GRANT statements per database.

Only `advice` queries a database. The tables belong to the role that migrates.
"""

from .roles import Grants, Kind, advice, grants

__all__ = ["Grants", "Kind", "advice", "grants"]
