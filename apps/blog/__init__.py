"""A sample app: posts and comments."""
