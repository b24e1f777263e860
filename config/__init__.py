"""The project. It exposes the Celery app, so that producers publish to our broker."""

from workers.celery import app as celery_app

__all__ = ["celery_app"]
