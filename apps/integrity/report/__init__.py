"""Read-only figures: the only source for the commands, the dashboard, the metrics and the alarms.

Each module computes one kind of figure. Import from the module: this package hands on nothing.
"""
