"""A Celery app of another service, whose tasks erase what they are told.

`celery -A tests.erasure_tasks worker -Q erasure`. What it holds is a set in Redis.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery
from redis import Redis

HELD, RUNS = "tests:erasure:held", "tests:erasure:runs"
URL = os.environ["BROKER_URL"]

# Tests import it beside the project's own app, which stays the current one.
app = Celery("erasure_service", broker=URL, backend=URL, set_as_current=False)
app.conf.task_default_queue = "erasure"
app.conf.broker_connection_retry_on_startup = True


def redis() -> Any:
    return Redis.from_url(URL)


@app.task(name="erasure.erase")
def erase(items: list[dict[str, Any]]) -> dict[str, Any]:
    held = redis()
    held.incr(RUNS)
    for item in items:
        held.srem(HELD, item["value"])
    return {"erased": True}


@app.task(name="erasure.left")
def left(items: list[dict[str, Any]]) -> dict[str, Any]:
    held = redis()
    return {"left": sum(held.sismember(HELD, item["value"]) for item in items)}


@app.task(name="erasure.fail")
def fail(items: list[dict[str, Any]]) -> None:
    raise ValueError(f"these ids are personal: {items}")


@app.task(name="erasure.sleep")
def sleep(_items: list[dict[str, Any]]) -> None:
    time.sleep(1.0)
