"""The timetable of beat: what is started how often. The product's own, as any adopter has it."""

from apps.integrity.routing import PERIODS, beat_schedule

__all__ = ["PERIODS", "beat_schedule"]
