"""A sample app: orders and products."""
