"""Beat's scheduler: django-celery-beat's, made to respect what an operator changed.

The stock scheduler writes every entry of `beat_schedule` back at each start, over changes made
in the admin. This one creates the entries that are missing and leaves the others alone.
To stop an entry for good, disable it: a deleted one is created again.
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
    """An entry that was run by a clock ahead of this one's, and is due a period from now at most.

    Celery waits until its own clock is a period behind the last run: after beat moved to a machine
    whose clock is ten minutes behind, or was set back, nothing would start for as long.
    """

    last_run_at: Any

    def is_due(self) -> Any:
        """Whether to start it now, and when to ask again."""
        now = self.schedule.now()
        if self.last_run_at is not None and self.last_run_at > now:
            self.last_run_at = now
        return super().is_due()


class CreateOnlyScheduler(DatabaseScheduler):  # type: ignore[misc]  # untyped library
    """Adds what the timetable has and the database lacks; changes nothing that is there."""

    Entry = Entry

    def update_from_dict(self, mapping: Mapping[str, Any]) -> None:
        """Called at the start, with the timetable."""
        present = self.Model.objects.filter(name__in=mapping).values_list("name", flat=True)
        missing = mapping.keys() - set(present)
        super().update_from_dict({name: mapping[name] for name in missing})

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Start what is due, and show that beat is alive."""
        seconds: float = super().tick(*args, **kwargs)
        try:
            health.touch("beat")
        except OSError as error:  # it ticks all the same
            logger.warning("the probe will not see that beat is alive: %s", error)
        return seconds
