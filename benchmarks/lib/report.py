"""Write the results to `results/` and the README, and keep the results of earlier runs."""

# ruff: noqa: RUF001 - typographic signs

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import psycopg

from . import plots
from .result import Result, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .stage import Scale

RESULTS = Path(__file__).parents[1] / "results"
README = Path(__file__).parents[2] / "README.md"
#: The README's table is between these lines: what matters most to somebody who chooses.
BEGIN, END = "<!-- benchmarks -->\n", "<!-- /benchmarks -->\n"
HEADLINES = {
    "B2": "What a broker that refuses connections adds to the p95 of `user.delete()`",
    "B4.orm": "Rows per second of a cascade with one worker, beside Django's `queryset.delete()`",
    "B4.transaction": "Longest transaction of a cascade of one user's rows",
}
SCHEMA_VERSION = 1


def machine() -> dict[str, Any]:
    """Return a description of this machine."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
    }


def versions(postgresql: str) -> dict[str, str]:
    """Return the versions of the relevant programs."""
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "psycopg": psycopg.__version__,
        "postgresql": postgresql,
        "sqlite": sqlite3.sqlite_version,
    }


def document(
    results: Sequence[Result], scale: Scale, postgresql: str, began: float
) -> dict[str, Any]:
    """Return the document of a run. Each result has its run's scale, because runs are merged."""
    run = {
        "scale": scale.name,
        "rows": scale.rows,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "machine": machine(),
        "versions": versions(postgresql),
        "results": [{**result.document(), "run": run} for result in results],
    }


def merged(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Return `new` and the results of other benchmarks in `old`, if from the same machine."""
    measured = {_benchmark(result["id"]) for result in new["results"]}
    earlier = old.get("results", []) if old.get("machine") == new["machine"] else []
    kept = [result for result in earlier if _benchmark(result["id"]) not in measured]
    results = sorted([*kept, *new["results"]], key=lambda result: _order(result["id"]))
    return {**new, "results": results}


def save(new: dict[str, Any], folder: Path = RESULTS, readme: Path = README) -> Path:
    """Merge `new` into `latest.json`; write the plots, `latest.md` and the README's table."""
    folder.mkdir(exist_ok=True)
    path = folder / "latest.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    whole = merged(new, old)
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    plots.draw(whole, folder)
    pictures = sorted(path.name for path in folder.glob("*.svg"))
    (folder / "latest.md").write_text(markdown(whole, pictures))
    before, _, rest = readme.read_text().partition(BEGIN)
    readme.write_text(before + BEGIN + headlines(whole) + END + rest.partition(END)[2])
    return path


def headlines(whole: dict[str, Any]) -> str:
    """Return the README's table, and how many targets are missed in all."""
    results = {result["id"]: result for result in whole["results"]}
    lines = ["| | Measured | Target | |", "|---|---|---|---|"]
    for name, title in HEADLINES.items():
        if name not in results:
            continue
        figure = f"{short(results[name]['ratio'])} {results[name]['unit']}"
        lines.append(f"| {title} ({name}) | {figure} | {_target(results[name])} |")
    targets = [result["ok"] for result in results.values() if result["target"] is not None]
    met = sum(targets)
    page = "[all figures](benchmarks/results/latest.md)"
    total = f"Of {len(targets)} targets {met} are met and {len(targets) - met} missed: {page}."
    return "\n".join([*lines, "", total, ""])


def markdown(whole: dict[str, Any], pictures: Sequence[str] = ()) -> str:
    """Return the Markdown page with all results and the plots."""
    where = whole["machine"]
    programs = ", ".join(f"{name} {version}" for name, version in whole["versions"].items())
    lines = [
        "# Benchmarks",
        "",
        f"{where['processors']} × {where['processor']}, {where['memory_gb']} GB, {programs}.",
        "Median of the rounds (least–most). `./run bench` measures them again.",
        "",
        "| id | what | measured | target | | run | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in whole["results"]:
        samples, spread = result["samples"], ""
        if len(samples) > 1:
            spread = f" ({short(min(samples))}–{short(max(samples))})"
        lines.append(
            f"| {result['id']} | {result['title']}"
            f" | {short(result['ratio'])}{spread} {result['unit']}"
            f" | {_target(result)}"
            f" | {result['run']['scale']} | {result['run']['load'][0]} |"
        )
    for name in pictures:
        lines += ["", f"![{name.removesuffix('.svg')}]({name})"]
    return "\n".join([*lines, ""])


def _target(result: dict[str, Any]) -> str:
    """Return the table cells with the target and the verdict."""
    if result["target"] is None:
        return "– | "
    sign = "≥" if result["at_least"] else "≤"
    return f"{sign} {result['target']:g} | {'✓' if result['ok'] else 'missed'}"


def _benchmark(name: str) -> str:
    return name.partition(".")[0]


def _order(name: str) -> int:
    return int("".join(filter(str.isdigit, _benchmark(name))) or sys.maxsize)


def _processor() -> str:
    """Return the processor's name, or its architecture if the system does not report it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
