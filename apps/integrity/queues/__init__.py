"""Who wakes whom."""
