"""How large the experiments are: in full, quick, and as brief as a test run allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of all experiments. `brief` ones show what is broken, not how quick it is."""

    #: Broker: how the deletes of a process are spread in time, next to those of the baseline.
    deletes: int = 200
    rounds: int = 40
    round_seconds: float = 0.3
    #: Whether all faults share one baseline, which saves processes and costs comparability.
    together: bool = False
    #: Whether a process that has just begun to publish is let exit as well.
    short_lives: bool = True

    #: Isolation.
    per_second: float = 5.0
    baseline_seconds: float = 30.0
    frozen_seconds: float = 60.0
    frozen: tuple[str, ...] = ("blog_db", "shop_db")

    #: Giant.
    posts: int = 1_000_000
    small: int = 1_000
    small_per_second: float = 15.0

    #: Recovery.
    repetitions: int = 5
    #: Celery asks for its broker after 2 s, after 4 s more, 6 s more, …, later every 30 s. The
    #: longer ones end soon after it has asked.
    outages_seconds: tuple[float, ...] = (5.0, 13.0, 92.0)
    #: A worker that loses a little each time is only seen to stop after several.
    stalls: int = 6


FULL = Scale()
QUICK = Scale(
    round_seconds=0.15,
    baseline_seconds=15.0,
    frozen_seconds=20.0,
    frozen=("blog_db",),
    posts=100_000,
    small=300,
    repetitions=1,
    outages_seconds=(13.0,),
    stalls=2,
)
BRIEF = Scale(
    deletes=100,
    rounds=8,
    round_seconds=0.0,
    together=True,
    short_lives=False,
    baseline_seconds=5.0,
    frozen_seconds=10.0,
    frozen=("blog_db",),
    posts=30_000,
    small=15,
    repetitions=1,
    outages_seconds=(3.0,),
    stalls=1,
)
