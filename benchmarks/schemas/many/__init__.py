"""Models of B13: owners in `default`, and items in many other databases."""
