"""Owners in `default`, and items in one, two or four further databases: for B9 alone."""
