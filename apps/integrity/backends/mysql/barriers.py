"""What MySQL and MariaDB say of their transactions."""

from __future__ import annotations

from ..portable.barriers import NoBarriers


class MySQLBarriers(NoBarriers):
    """See `BarrierBackend`."""
