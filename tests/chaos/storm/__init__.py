"""`python -m tests.chaos.storm`: deletes under faults, and a checker with a model of its own."""
