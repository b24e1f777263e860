"""Models of B9: owners in `default`, and items in one, two or four other databases."""
