"""Results → the documents in `results/`, which keep what other runs measured."""

# ruff: noqa: RUF001 - signs as people write them

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
#: Between these lines of the README stand the first figure of each benchmark, and these.
BEGIN, END = "<!-- benchmarks -->\n", "<!-- /benchmarks -->\n"
HEADLINES = {"B1.10000", "B4.two", "B4.orm", "B5.limit", "B7.merge", "B10.status"}
SCHEMA_VERSION = 1


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
    }


def versions(postgresql: str) -> dict[str, str]:
    """The programs that matter."""
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
    """A run, for programs. Each result tells its scale, for later runs are merged by id."""
    run = {
        "scale": scale.name,
        "rows": scale.rows,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "load": [round(each, 1) for each in os.getloadavg()],
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "machine": machine(),
        "versions": versions(postgresql),
        "results": [{**each.document(), "run": run} for each in results],
    }


def merged(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """`new`, with the results of `old` that belong to other benchmarks, if on the same machine."""
    measured = {_benchmark(each["id"]) for each in new["results"]}
    there = old.get("results", []) if old.get("machine") == new["machine"] else []
    kept = [each for each in there if _benchmark(each["id"]) not in measured]
    results = sorted([*kept, *new["results"]], key=lambda each: _order(each["id"]))
    return {**new, "results": results}


def save(new: dict[str, Any], folder: Path = RESULTS, readme: Path = README) -> Path:
    """Merge into `latest.json`; write the pictures, `latest.md` and the README's table from it."""
    folder.mkdir(exist_ok=True)
    path = folder / "latest.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    whole = merged(new, old)
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    plots.draw(whole, folder)
    pictures = sorted(each.name for each in folder.glob("*.svg"))
    (folder / "latest.md").write_text(markdown(whole, pictures))
    before, _, rest = readme.read_text().partition(BEGIN)
    readme.write_text(before + BEGIN + headlines(whole) + END + rest.partition(END)[2])
    return path


def headlines(whole: dict[str, Any]) -> str:
    """The README's table: of each benchmark what it is about, also where a target was missed."""
    lines = ["| | measured | target | |", "|---|---|---|---|"]
    for each in whole["results"]:
        if each["id"] == _benchmark(each["id"]) or each["id"] in HEADLINES:
            figure = f"{short(each['ratio'])} {each['unit']}"
            lines.append(f"| {each['title']} ({each['id']}) | {figure} | {_target(each)} |")
    return "\n".join([*lines, ""])


def markdown(whole: dict[str, Any], pictures: Sequence[str] = ()) -> str:
    """The table for people, and the pictures below it."""
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
    for each in whole["results"]:
        samples, spread = each["samples"], ""
        if len(samples) > 1:
            spread = f" ({short(min(samples))}–{short(max(samples))})"
        lines.append(
            f"| {each['id']} | {each['title']} | {short(each['ratio'])}{spread} {each['unit']}"
            f" | {_target(each)}"
            f" | {each['run']['scale']} | {each['run']['load'][0]} |"
        )
    for name in pictures:
        lines += ["", f"![{name.removesuffix('.svg')}]({name})"]
    return "\n".join([*lines, ""])


def _target(each: dict[str, Any]) -> str:
    """The cells of the target and of the verdict."""
    if each["target"] is None:
        return "– | "
    sign = "≥" if each["at_least"] else "≤"
    return f"{sign} {each['target']:g} | {'✓' if each['ok'] else 'missed'}"


def _benchmark(name: str) -> str:
    return name.partition(".")[0]


def _order(name: str) -> int:
    return int("".join(filter(str.isdigit, _benchmark(name))) or sys.maxsize)


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
