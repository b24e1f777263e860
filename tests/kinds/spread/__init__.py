"""A child that lives in two databases at once (shards)."""
