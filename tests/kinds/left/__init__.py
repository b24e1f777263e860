"""Children in `test_left`, on PostgreSQL."""
