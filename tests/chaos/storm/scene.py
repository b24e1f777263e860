"""What the processes of a run share: its directory, its signals, and the start of Django.

A signal is an empty file, because it survives whoever gave it.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import django

from .journal import Journal
from .plan import DELETERS, Plan

INSERTER, RESTORER = "inserter", "restorer"
DELETER_NAMES = tuple(f"deleter-{number}" for number in range(DELETERS))


@dataclass(frozen=True, slots=True)
class Scene:
    """One run's directory."""

    directory: Path

    def journal(self, name: str) -> Path:
        """Where the process of that name writes what it knows."""
        return self.directory / f"{name}.journal"

    def give(self, signal: str) -> None:
        """Give a signal to all processes of the run."""
        (self.directory / signal).touch()

    def given(self, signal: str) -> bool:
        """Whether a signal was given."""
        return (self.directory / signal).exists()

    def wait(self, signal: str) -> None:
        """Wait for a signal; the driver ends us if it never comes."""
        while not self.given(signal):
            time.sleep(0.05)

    def seconds_since(self, signal: str) -> float:
        """How long ago a signal was given."""
        return time.time() - (self.directory / signal).stat().st_mtime


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the run: its scene, its plan, its name and its journal."""

    scene: Scene
    plan: Plan
    name: str
    journal: Journal

    @classmethod
    def from_command_line(cls) -> Part:
        """`DIRECTORY NAME`; sets Django up and waits for the beginning."""
        scene, name = Scene(Path(sys.argv[1])), sys.argv[2]
        part = cls(scene, Plan.read(scene.directory), name, Journal(scene.journal(name)))
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.chaos.storm.settings")
        django.setup()
        scene.wait("begin")
        return part
