"""The sample project's Celery app, beat's scheduler, and Flower's app."""
