"""Models of every relation kind, each with every policy."""
