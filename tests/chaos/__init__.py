"""Deletes under faults, at random and one by one, and the truth that they are compared with."""
