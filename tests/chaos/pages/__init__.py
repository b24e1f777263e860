"""`python -m tests.chaos.pages`: what someone on call sees of a fault, and after how long."""

TOKEN = "whoever is on call"  # noqa: S105 (of servers on this machine, for minutes)
