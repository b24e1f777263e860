"""A demo with measurements: `python -m demo [--once]`."""
