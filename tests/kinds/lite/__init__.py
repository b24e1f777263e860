"""A parent, and children of others, in `test_lite`, on SQLite."""
