"""What acceptance tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance import newcomer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return newcomer.build(tmp_path_factory.mktemp("wheel"))
