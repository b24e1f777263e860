"""Real PostgreSQL and Redis-protocol servers on loopback, for demo, tests and benchmarks."""
