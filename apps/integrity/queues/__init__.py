"""How work is started: dispatch, time slices, maintenance, and the adapters for Celery."""
