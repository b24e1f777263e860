"""`python -m tests.chaos.faults`: the promised bounds, measured under the faults they are about."""
