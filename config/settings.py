"""Settings of the project. Only this module reads the environment.

`.env.example` lists every variable. If a required one is missing, the start fails with its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from apps.integrity import routing

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()


#: The variables without which the project cannot start.
REQUIRED = (
    *("SECRET_KEY", "DATABASE_URL", "DATABASE_URL_BLOG_DB", "DATABASE_URL_SHOP_DB"),
    "BROKER_URL",
)


def required(name: str) -> str:
    """Return the variable's value. Raises `ImproperlyConfigured` if it is missing or empty."""
    if value := env.str(name, default="").strip():
        return str(value)
    missing = ", ".join(each for each in REQUIRED if not env.str(each, default="").strip())
    message = (
        f"not set in the environment:\n{missing}\n"
        "`./run up` starts servers on this machine and writes these variables to a file:\n"
        "    ./run up && set -a && . .sandbox/env && set +a\n"
        "For other servers, docker-compose.yml shows what each variable holds."
    )
    raise ImproperlyConfigured(message)


# Security

SECRET_KEY = required("SECRET_KEY")
DEBUG: bool = env.bool("DEBUG", default=False)
HTTPS: bool = env.bool("HTTPS", default=not DEBUG)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])

SECURE_SSL_REDIRECT = HTTPS
# Health checks use plain HTTP inside the network and bypass the proxy.
SECURE_REDIRECT_EXEMPT = [r"^integrity/healthz$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
# A client could forge the header. Trust it only behind a proxy that always overwrites it.
if env.bool("TRUST_FORWARDED_PROTO", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Applications

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "apps.integrity",
    "apps.accounts",
    "apps.blog",
    "apps.shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"
FLOWER_URL: str = env.str("FLOWER_URL", default="")

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Databases

STATEMENT_TIMEOUT_SECONDS: int = env.int("STATEMENT_TIMEOUT_SECONDS", default=15)

DATABASE_OPTIONS: dict[str, dict[str, Any]] = {
    "django.db.backends.postgresql": {
        "connect_timeout": 3,
        "keepalives_idle": 10,
        "tcp_user_timeout": 10_000,
        "options": (
            "-c lock_timeout=2s"
            f" -c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s"
            " -c idle_in_transaction_session_timeout=30s"
        ),
    },
    "django.db.backends.mysql": {
        "connect_timeout": 3,
        # A client of MySQL cannot be interrupted while it waits for a server that is silent.
        "read_timeout": 2 * STATEMENT_TIMEOUT_SECONDS,
        "write_timeout": 10,
        "init_command": "SET SESSION innodb_lock_wait_timeout = 2",
    },
    "django.db.backends.sqlite3": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;",
    },
}


def database(name: str) -> dict[str, Any]:
    """Return the settings of the database in the variable's URL. Options in the URL win."""
    required(name)
    parsed: dict[str, Any] = env.db_url(name)
    options = DATABASE_OPTIONS.get(parsed["ENGINE"], {}) | parsed.get("OPTIONS", {})
    return parsed | {"OPTIONS": options, "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}


DATABASES = {
    "default": database("DATABASE_URL"),
    "blog_db": database("DATABASE_URL_BLOG_DB"),
    "shop_db": database("DATABASE_URL_SHOP_DB"),
}
DATABASE_ROUTING_RULES = {"blog": "blog_db", "shop": "shop_db"}
DATABASE_ROUTERS = ["apps.integrity.routers.AppLabelRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Cross-database integrity. apps/integrity/conf has all keys and their defaults.

INTEGRITY: dict[str, object] = {
    # On PostgreSQL, triggers record deletions in the least time, those by raw SQL included.
    "capture": "trigger" if "postgresql" in DATABASES["default"]["ENGINE"] else "signal",
    # Beat's scans repair automatically here. The default is "report".
    "scan_policy": "repair",
    "flower_url": FLOWER_URL,
}

# Celery. Options that the guarantees need are on the tasks: apps/integrity/queues/celery.py.

CELERY_BROKER_URL = required("BROKER_URL")
REDIS_OPTIONS = {
    # Limits how long a publish waits for a hanging broker. Workers wait longer: workers/celery.py.
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "socket_keepalive": True,
    "health_check_interval": 5,
    # These control connection retries; the publish policy below does not.
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    # Twice the tasks' hard time limit. Checked every 5 s instead of every 100 s.
    "visibility_timeout": 120,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
}
# An option of another transport may be an error.
CELERY_BROKER_TRANSPORT_OPTIONS = (
    REDIS_OPTIONS if routing.transport_of(CELERY_BROKER_URL) in routing.REDIS else {}
)
# Where the transport has heartbeats, a worker notices a broker that is dead within 20 s.
CELERY_BROKER_HEARTBEAT = 10
CELERY_VISIBILITY_TIMEOUT = 120
CELERY_BROKER_POOL_LIMIT = 10
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 0.5
CELERY_TASK_PUBLISH_RETRY = True
# Redis connects anew by itself. To RabbitMQ, Celery only does when it retries.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 0 if CELERY_BROKER_TRANSPORT_OPTIONS else 1}

# A message to an undeclared queue is a programming error.
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_DEFAULT_QUEUE = routing.CONTROL

CELERY_WORKER_MAX_TASKS_PER_CHILD = 500
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 300_000
CELERY_WORKER_ETA_TASK_LIMIT = 100
# Seconds before SIGQUIT ends a worker. REMAP_SIGTERM=SIGQUIT makes SIGTERM do the same.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False

# Otherwise beat would schedule a clean-up of results on an undeclared queue.
CELERY_RESULT_EXPIRES = None
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_ACCEPT_CONTENT = ["json"]

CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_BEAT_SCHEDULER = "workers.beat:CreateOnlyScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5

CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False

# Connections stay open between tasks; install(app) checks them before each task.
CELERY_DB_REUSE_MAX = 1000

# Routes, queues and beat's schedule, as in any other project.
vars().update(routing.celery_settings(vars()))

# Users

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# Language and time

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# Static files: WhiteNoise serves them from the apps' folders, without collectstatic.

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "config" / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_MAX_AGE = 0 if DEBUG else 3600

# Logging

LOG_FORMAT: str = env.str("LOG_FORMAT", default="text")
if LOG_FORMAT not in {"text", "json"}:
    message = f"LOG_FORMAT is {LOG_FORMAT!r}; it must be 'text' or 'json'."
    raise ImproperlyConfigured(message)

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "config.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "integrity": {"level": "INFO"},
        # Remove Django's own handlers, which mail the admins or depend on DEBUG.
        "django": {"handlers": [], "level": "INFO"},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
    },
}
