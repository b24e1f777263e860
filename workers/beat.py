"""Beat's scheduler: django-celery-beat's, but it keeps changes made in the admin.

The original scheduler overwrites such changes at each start with the entries of `beat_schedule`.
This one only creates missing entries. To turn an entry off, disable it: a deleted entry is created
again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from apps.integrity.queues import health

if TYPE_CHECKING:
    from collections.abc import Mapping


logger = logging.getLogger("workers.beat")


class Entry(ModelEntry):  # type: ignore[misc]  # untyped library
    """A schedule entry that tolerates a last run in the future.

    The clock may have been set back, or beat may have moved to a machine whose clock is behind.
    Celery would then start nothing until the clock has caught up. Here, a last run in the future
    counts as now, so the entry is due after one period at most.
    """

    last_run_at: Any

    def is_due(self) -> Any:
        """Return whether the entry is due now, and in how many seconds to check again."""
        now = self.schedule.now()
        if self.last_run_at is not None and self.last_run_at > now:
            self.last_run_at = now
        return super().is_due()


class CreateOnlyScheduler(DatabaseScheduler):  # type: ignore[misc]  # untyped library
    """Creates entries that are in `beat_schedule` but not in the database; changes none."""

    Entry = Entry

    def update_from_dict(self, mapping: Mapping[str, Any]) -> None:
        """Create the missing entries. Celery calls it at the start with `beat_schedule`."""
        present = self.Model.objects.filter(name__in=mapping).values_list("name", flat=True)
        missing = mapping.keys() - set(present)
        super().update_from_dict({name: mapping[name] for name in missing})

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Start what is due and touch beat's heartbeat file; return the seconds to wait."""
        seconds: float = super().tick(*args, **kwargs)
        try:
            health.touch("beat")
        except OSError as error:  # keep ticking
            logger.warning("cannot write the heartbeat file; the health check will fail: %s", error)
        return seconds
