"""The processes of the sample: the Celery app, and beat's scheduler."""
