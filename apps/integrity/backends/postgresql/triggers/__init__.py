"""Triggers that record deletions: the wanted, the installed, and the change between them."""
