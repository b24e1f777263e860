"""The scan under concurrent load: how much it slows reads, and whether it reports false orphans."""

# ruff: noqa: S608 - names come from models

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connections
from django.test import override_settings

from apps.integrity import relations, scan
from apps.integrity.models import Scan, Suspect
from apps.integrity.scan import repair
from sandbox.processes import eventually

from ..lib.result import Result, percentile, ratios, short, spread
from ..lib.scans import HOMES, forget

if TYPE_CHECKING:
    from ..lib.orphans import Tables
    from ..lib.stage import Stage

WRITERS, GAP_SECONDS = 3, 0.15


def interference(stage: Stage, tables: Tables) -> Result:
    """Measure point reads of both tables, alone and during a continuous throttled scan."""
    seconds = 2.0 if stage.scale.quick else 4.0
    alone, beside = list[float](), list[float]()
    for number in range(stage.scale.rounds):
        alone.append(_point_reads(tables, seconds))
        forget(HOMES[0])
        scans = stage.start_probe("scan_forever")
        if not eventually(_is_scanning, timeout=60):
            raise AssertionError(f"no scan has started\n{scans.tail()}")
        beside.append(_point_reads(tables, seconds))
        scans.check()
        scans.kill()
        taken = f"p95 alone {short(alone[-1])} ms, beside a scan {short(beside[-1])} ms"
        stage.tell(f"round {number + 1} of {stage.scale.rounds}: {taken}")
    forget(HOMES[0])
    detail = {"alone_ms": spread(alone), "beside_ms": spread(beside)}
    title = "p95 of point reads beside a scan"
    return Result.of("B7.foreground", title, ratios(beside, alone), 1.3, detail=detail)


def stress(stage: Stage, tables: Tables) -> Result:
    """Scan and repair while children are committed 150 ms before their parents.

    Nothing is ever deleted, so every suspect is false, and none may be confirmed.
    """
    forget(HOMES[0])
    relation = relations.catalogue().relation(tables.label)
    seconds = 10.0 if stage.scale.quick else 30.0
    scans = confirmed = dropped = 0
    with override_settings(INTEGRITY={**settings.INTEGRITY, "grace_seconds": 0.001}):
        writers = stage.start_probe("writers", count=WRITERS, seconds=seconds, gap=GAP_SECONDS)
        while writers.running:
            mode = scan.Mode(full=True)
            scan.scan(HOMES[1], labels=[tables.label], seconds=math.inf, mode=mode)
            for outcome in repair.repair([relation]):
                confirmed += len(outcome.confirmed)
                dropped += outcome.cancelled
            scans += 1
    writers.finish()
    left = Suspect.objects.filter(relation=tables.label).count()
    suspects = confirmed + dropped + left
    if not suspects:
        raise AssertionError("the stress test had no suspects, so it proves nothing")
    detail = {"scans": scans, "suspects": suspects, "dropped": dropped}
    title = "living rows confirmed as orphans under stress"
    return Result.of("B7.stress", title, [confirmed], 0, unit="keys", detail=detail)


def _is_scanning() -> bool:
    return Scan.objects.using(HOMES[0]).filter(claim__isnull=False).exists()


def _point_reads(tables: Tables, seconds: float) -> float:
    """Read a parent and a child in turn for `seconds`; return the p95 in milliseconds."""
    parent, child = tables.names
    places = ((HOMES[0], parent, tables.parents), (HOMES[1], child, tables.children))
    chosen, took = random.Random(1), list[float]()  # noqa: S311 - not for security
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for alias, table, rows in places:
            started = time.perf_counter()
            with connections[alias].cursor() as cursor:
                cursor.execute(f"SELECT * FROM {table} WHERE id = %s", [chosen.randint(1, rows)])
                cursor.fetchall()
            took.append((time.perf_counter() - started) * 1_000)
    return percentile(took)
