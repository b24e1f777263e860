"""`python -m tests.faults`: promises that are numbers, measured under the faults they are about."""
