"""What the brake decides, from figures alone."""

from __future__ import annotations

import pytest

from apps.integrity import conf
from apps.integrity.models import Scan
from apps.integrity.scan import brake
from apps.integrity.scan.brake import Evidence, Figures

FEW, MANY = Figures(keys=1_000, missing=3), Figures(keys=1_000, missing=900)


def evidence(*figures: Figures, refused: str = "", no_parents: bool = False) -> Evidence:
    return Evidence(refused=refused, no_parents=no_parents, figures=figures)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (evidence(), ""),
        (evidence(FEW, FEW), ""),
        (evidence(FEW, MANY), "900 of 1,000 keys have no parent"),
        (evidence(FEW, no_parents=True), brake.EMPTY),
        (evidence(FEW, refused="paused: another one", no_parents=True), "paused: another one"),
    ],
)
def test_any_absurd_figure_refuses(found: Evidence, reason: str) -> None:
    settings = conf.current()
    refusal = brake.refusal(found, settings)
    assert refusal.startswith(reason)
    assert bool(refusal) == bool(reason)


@pytest.mark.parametrize(("keys", "most"), [(0, 100), (100_000, 1_000), (10_000, 100)])
def test_it_tolerates_a_few_keys_and_a_small_share(keys: int, most: int) -> None:
    settings = conf.current()
    assert (settings.brake_keys, settings.brake_share) == (100, 0.01)
    assert not brake.absurdity(Figures(keys=keys, missing=most), settings)
    assert brake.absurdity(Figures(keys=keys, missing=most + 1), settings)


def test_databases_of_one_relation_are_summed_and_suspects_are_judged_beside_the_larger() -> None:
    rows = [
        Scan(keys=10, missing=1, last_keys=100, last_missing=2),
        Scan(keys=20, missing=3, last_keys=300, last_missing=4),
    ]
    assert brake.all_figures(7, rows) == (
        Figures(keys=30, missing=4),
        Figures(keys=400, missing=6),
        Figures(keys=400, missing=7),
    )
