"""What docs/how-to/third-party-apps.md shows: the keys of an app that is moved lose constraints."""

from __future__ import annotations

from django.apps import AppConfig, apps

KEYS = {"auditlog.LogEntry": ["actor", "content_type"]}


class Moved(AppConfig):
    name = "tests.apps.scene_auditlog_apart"

    def ready(self) -> None:
        """Before the checks, and before this app looks at the keys."""
        for label, fields in KEYS.items():
            for field in fields:
                apps.get_model(label)._meta.get_field(field).db_constraint = False
