"""Mutations of what keeps passwords out of answers, pages and logs."""

from __future__ import annotations

from .mutation import Mutation

ROUTING = "apps/integrity/routing.py"
ANSWERS = "apps/integrity/queues/celery_answers.py"
EXPOSURE = "apps/integrity/checks/exposure.py"
CELERY = "workers/celery.py"
FLOWER = "workers/flower.py"
T_PASSWORDS = "tests/acceptance/test_passwords.py"
T_CONFIG = "tests/unit/test_celery_config.py"

NEVER_SHOWN = f"{T_CONFIG}::test_a_secret_is_used_and_never_shown"

MUTATIONS = (
    Mutation(
        "celery-gets-all-of-django-s-settings",
        "whoever may ask a worker reads the broker's password",
        CELERY,
        "app.config_from_object(CeleryConfig(settings))",
        'app.config_from_object("django.conf:settings", namespace="CELERY")',
        (f"{T_CONFIG}::test_the_sample_project_s_app_has_celery_s_settings_alone",),
    ),
    Mutation(
        "celery-finds-any-setting",
        "a setting of Django's reaches Celery by its name",
        ROUTING,
        "name = key if key.startswith(OLD_NAMES) else self._prefix + key.upper()",
        "name = key if key.isupper() else self._prefix + key.upper()",
        (f"{T_CONFIG}::test_no_setting_of_django_reaches_celery_but_its_time_zone",),
    ),
    Mutation(
        "celery-lists-what-it-does-not-mask",
        "`celery report` shows the password of a setting that Celery does not know",
        ROUTING,
        "if not shows_password(key, self[key]):",
        "if key:",
        (NEVER_SHOWN,),
    ),
    Mutation(
        "an-empty-list-of-settings-is-no-source",
        "a project whose settings all hold a password gets Celery's defaults",
        ROUTING,
        "        return True\n",
        "        return len(self) > 0\n",
        (NEVER_SHOWN,),
    ),
    Mutation(
        "workers-answer-as-celery-does",
        "`inspect stats` shows the password of a Sentinel",
        ANSWERS,
        "return masked(command(*args, **options))",
        "return command(*args, **options)",
        (f"{T_CONFIG}::test_a_worker_s_statistics_hold_no_password", NEVER_SHOWN),
    ),
    Mutation(
        "no-check-of-what-celery-was-given",
        "W023 is never said",
        EXPOSURE,
        "app.conf.get(OF_DJANGO) is None",
        "OF_DJANGO not in app.conf.defaults[-1]",
        (f"{T_CONFIG}::TestW023::test_an_app_with_all_of_django_s_settings",),
    ),
    Mutation(
        "flower-shows-its-metrics-to-everybody",
        "names of workers and tasks for whoever reaches the port",
        FLOWER,
        "Metrics.get = authenticated(Metrics.get)",
        "Metrics.get = Metrics.get",
        (f"{T_PASSWORDS}::test_flower_answers_nobody_without_the_password",),
    ),
    Mutation(
        "flower-starts-without-a-login",
        "a port that was opened by mistake shows everything",
        FLOWER,
        'required("FLOWER_BASIC_AUTH")\n',
        "",
        (f"{T_PASSWORDS}::test_flower_does_not_start_without_a_password",),
    ),
    Mutation(
        "flower-looks-after-the-workers-messages",
        "Flower's user has to read what workers hold",
        FLOWER,
        '"unacked_key": "flower.unacked"',
        '"unacked_key": "unacked"',
        (f"{T_CONFIG}::test_flower_s_own_app_and_the_one_that_the_guide_prints",),
    ),
)
