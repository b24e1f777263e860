"""A newcomer's project, migrated and with some rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.newcomer import FILL, MIGRATE, SETTINGS, Project


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """User 1 was deleted and is in the log, 2 vanished and is not, 3 lives; each had a post."""
    project = Project(tmp_path_factory.mktemp("newcomer"))
    (project.folder / "newcomer_settings.py").write_text(SETTINGS)
    project.run(MIGRATE + FILL)
    return project.folder


@pytest.fixture
def project(migrated: Path, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(migrated, tmp_path / "project")))
