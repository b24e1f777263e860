"""`python -m tests.storm`: deletes under faults, and a checker with a model of its own."""
