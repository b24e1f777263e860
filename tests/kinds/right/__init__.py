"""Children in `test_right`, on PostgreSQL."""
