"""A Celery app as the README has it."""

import select
import time

from tests.security.skewed import plain_app


def sleep(seconds: float) -> None:
    """As `time.sleep`, which asks the kernel for a moment of the monotonic clock.

    libfaketime 0.9.10 takes that for a moment of the clock that it fakes, and the kernel refuses.
    """
    select.select([], [], [], seconds)


time.sleep = sleep
app = plain_app()
