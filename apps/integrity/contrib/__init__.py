"""Additions that integrity itself does not need."""
