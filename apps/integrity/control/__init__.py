"""Whether work on a child database may go on: circuit breaker, identity, operators, grants."""
