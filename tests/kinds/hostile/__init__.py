"""Models whose tables and columns have the worst names that a database takes."""
