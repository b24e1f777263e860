"""PostgreSQL: the log, rows, barriers, keys of a scan, and the triggers that record deletions."""
