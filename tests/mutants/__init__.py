"""Breaks the code on purpose, one mutation at a time, and sees the tests notice."""
