"""The project. It imports the Celery app, so that web processes publish to its broker."""

from workers.celery import app as celery_app

__all__ = ["celery_app"]
