"""The benchmarks: one module each, named after what it measures. Each has `run(stage)`."""

from __future__ import annotations

#: Id of a benchmark → its module in this package.
CASES = {
    "B1": "request_time",
    "B2": "broker_outage",
    "B3": "bulk_delete",
    "B4": "one_large_user",
    "B5": "many_users",
    "B6": "latency",
    "B7": "scan",
    "B8": "growth",
    "B9": "scaling",
    "B10": "log_size",
    "B11": "log_writes",
    "B12": "health_endpoint",
    "B13": "many_databases",
    "B14": "scan_mariadb",
    "B15": "cascade_mariadb",
    "B16": "log_mariadb",
    "B17": "deadlines",
}
