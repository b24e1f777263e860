"""The processes: the Celery app, one queue per database, the timetable, and liveness."""
