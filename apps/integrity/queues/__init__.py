"""Which process does the work: dispatch, time slices, maintenance, and the adapters for Celery."""
