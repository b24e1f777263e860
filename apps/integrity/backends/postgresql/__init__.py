"""What only PostgreSQL has: trigger functions, their owner, and locks of tables."""
