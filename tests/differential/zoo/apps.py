"""Connects receivers to the models that the seed drew."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_delete

from ..spread import current


class ZooConfig(AppConfig):
    name = "tests.differential.zoo"
    label = "zoo"

    def ready(self):
        for model in self.get_models(include_auto_created=True):
            if not model._meta.proxy and current().heard(model.__name__):
                post_delete.connect(_hear, sender=model, dispatch_uid=model.__name__)


def _hear(**_):
    """Being connected is all: the Collector then loads the rows."""
