"""`python -m tests.chaos.pages`: what someone on call sees of a fault, and after how long."""

TOKEN = "whoever is on call"
#: Verification comes so long after a cascade is done.
GRACE_SECONDS = 2.0
