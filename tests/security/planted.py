"""The sample project's settings, with secrets as an adopter's project holds them."""

from __future__ import annotations

import os

from config.settings import *  # noqa: F403
from config.settings import CELERY_BROKER_TRANSPORT_OPTIONS

PLANTED = os.environ["PLANTED_SECRET"]

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "pages": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://:{PLANTED}@127.0.0.1:1/1",
    },
}
SENTRY_DSN = f"https://{PLANTED}@sentry.invalid/1"
EMAIL_HOST_USER = EMAIL_HOST_PASSWORD = PLANTED
STORAGE_URL = f"https://backup:{PLANTED}@storage.invalid/"
CELERY_REDBEAT_REDIS_URL = f"redis://:{PLANTED}@127.0.0.1:1/3"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    **CELERY_BROKER_TRANSPORT_OPTIONS,
    "sentinel_kwargs": {"password": PLANTED},
}
