"""The product at work, told with figures: `python -m demo [--once]`."""
