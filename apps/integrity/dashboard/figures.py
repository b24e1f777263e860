"""Figures of the pages, computed once for all open tabs.

The figures are the same for all accounts. What only some may see (keys) is decided when a page is
rendered, and is never kept here.
"""

from __future__ import annotations

from ..report import suspected as report_suspected
from ..report.overview import collect_overview
from ..report.scans import scan_rows
from ..report.shared import Shared

#: Kept for less long than others when the databases are slow: the first page names a fault in time.
overview = Shared(collect_overview, times_longer=2.0)
scans = Shared(scan_rows)
suspected = Shared(report_suspected.suspected)


def forget() -> None:
    """Compute the figures anew for the next request."""
    for figure in (overview, scans, suspected):
        figure.forget()
