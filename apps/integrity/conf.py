"""`settings.INTEGRITY`, typed: the one dictionary that an adopter may tune."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from .declared import Relation
from .exceptions import InvalidSetting

#: What may record the deletions of a parent.
CAPTURES = ("signal", "trigger", "both", "off")
#: Of these, what has a trigger record, and what listens to Django's signals.
BY_TRIGGER, BY_SIGNAL = frozenset({"trigger", "both"}), frozenset({"signal", "both"})
#: Settings that take None for "for ever".
FOR_EVER = frozenset({"heartbeat_retention_days", "audit_retention_days"})
#: What may follow when a scan finds orphans.
SCAN_POLICIES = ("report", "repair")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each key of `settings.INTEGRITY`, with its default. Units are in the names."""

    relations: Sequence[Relation] = ()
    """Columns that are no ForeignKey and hold keys of parents in another database, and
    GenericForeignKeys with such parents (declared.py)."""

    capture: str | Mapping[str, str] = "signal"
    """What records deletions: "signal", "trigger" (PostgreSQL) or "both"; or a dictionary of them
    by parent, as in {"auth.User": "both"}, where all others keep to "signal". "off" is the first
    step of leaving: deletes go through and are not recorded, so what refers to the deleted rows
    from other databases is the project's own to remove."""

    claim_keys: int = 1_000
    """Most cascades that a worker claims at once: so many keys share each statement."""

    statement_rows: int = 1_000
    """Rows of the first statement; each relation's batch size adapts from there, or from where the
    slowest of the others is by then."""

    statement_rows_max: int = 40_000
    """No statement touches more rows than this."""

    statement_seconds: float = 0.1
    """The time that a transaction of a cascade should take; a slower one halves the rows of the
    next, one that took less than half of it lets it have as many as fit."""

    lock_seconds: float = 2.0
    """How long a step waits for a row that another transaction holds, before it passes it over; and
    how long a question of PROTECT or RESTRICT waits for a table. A try to install a trigger waits a
    tenth of it."""

    turn_seconds: float = 1.0
    """How long one claim may work before the deletions behind it get their turn."""

    run_seconds: float = 20.0
    """How long one task works before it hands over to the next message; less than the 45 s after
    which Celery stops it."""

    lease_seconds: float = 8.0
    """A claim that is not renewed for so long may be claimed by another worker."""

    attempts: int = 8
    """Failures of one cascade before it is blocked and waits for an operator."""

    backoff_seconds: float = 2.0
    """Wait after the first failure; doubled by each further one, with jitter."""

    backoff_seconds_max: float = 600.0
    """Longest wait between two attempts."""

    probe_seconds: float = 5.0
    """How often a database that cannot be reached is asked again."""

    stalled_seconds: float = 900.0
    """Work that waits longer raises the alarm "stalled"."""

    grace_seconds: float = 60.0
    """How long after its end a cascade is verified, and after its first sighting a missing parent
    is looked for again: late inserts have landed by then."""

    unproven_seconds: float = 900.0
    """What is done and not verified for so long beyond its grace period raises the alarm
    "unproven"."""

    scan_policy: str | Mapping[str, str] = "report"
    """What follows when a scan finds orphans: "report", or "repair"; or a dictionary of them by
    relation, as in {"blog.Post.author": "repair"}, where all others keep to "report"."""

    scan_period_seconds: float = 86_400.0
    """How often a pass over each relation begins."""

    scan_seconds: float = 5.0
    """How long one tick scans one child database."""

    scan_step_keys_max: int = 50_000
    """Most distinct keys of one step of a scan."""

    scan_step_seconds: float = 0.25
    """The time that a step should take; as `statement_seconds`, of keys."""

    brake_share: float = 0.01
    """Repair nothing when more than this share of a relation's keys misses its parent."""

    brake_keys: int = 100
    """So many missing parents are never absurd, whatever their share."""

    retention_days: float = 30.0
    """How long deletions stay in the log after their end: verified, kept or cancelled."""

    purge_keys: int = 5_000
    """Most deletions that one transaction purges."""

    heartbeat_retention_days: float | None = 7.0
    """How long a process that is gone is remembered by its last heartbeat; None: for ever. Beat's,
    and that of the worker seen last, stay."""

    audit_retention_days: float | None = 365.0
    """How long the audit remembers what operators did; None: for ever. Only a role that may delete
    from it, which workers need not, removes more: `manage.py integrity purge`."""

    dispatch_keys: int = 5_000
    """Most deletions that one transaction dispatches."""

    wakeups: bool = True
    """Publish a wake-up after each commit. Without it, beat alone finds the work."""

    wakeup_timeout_seconds: float = 0.5
    """Longest wait for the broker while publishing (never in the request's thread)."""

    wakeup_retry_seconds: float = 5.0
    """Pause of the publisher after a failure."""

    flower_url: str = ""
    """Where Flower is, for a link on the dashboard."""

    metrics_token: str = ""
    """What a scrape of the metrics sends as `Authorization: Bearer …`; "" asks for nothing. With
    it, healthz also tells the state of each child database."""

    healthz_token: str = ""
    """What a probe of healthz sends in the same way (or else the metrics' token); "" asks for
    nothing."""

    figures_seconds: float = 2.0
    """How long a process answers healthz, the metrics and the overview from one computation;
    figures that take long to compute serve up to five times as long."""

    protect_limit: int = 100
    """Most referring rows that a PROTECT or RESTRICT check loads for its error."""

    protect_keys: int = 100_000
    """Most keys that such a check carries from one database to another, or around a circle of
    relations, and most restricted rows of which it looks up whether they go too. A delete that
    needs more is refused."""

    log_role: str = "integrity_log"
    """The role of PostgreSQL that the triggers run as: it may add rows to the log, and nothing
    else. It is made where the installing role may make roles."""

    drop_log: bool = False
    """Let `migrate integrity zero` drop the log although deletions are recorded there or work is
    open: that work is not done then, and its rows stay."""

    def __post_init__(self) -> None:
        _refuse_unknown("capture", self.capture, CAPTURES, "parent")
        _refuse_unknown("scan_policy", self.scan_policy, SCAN_POLICIES, "relation")
        _refuse_undeclared(self.relations)
        for field in dataclasses.fields(self):
            if field.name in {"capture", "scan_policy", "relations"}:
                continue
            value, wanted = getattr(self, field.name), type(field.default)
            if value is None and field.name in FOR_EVER:
                continue
            if wanted is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not wanted:
                raise InvalidSetting(
                    f"INTEGRITY[{field.name!r}] is {value!r}; it takes {wanted.__name__}"
                )
            if wanted in {int, float} and not 0 < value < math.inf:
                raise InvalidSetting(f"INTEGRITY[{field.name!r}] is {value!r}; it must be above 0")

    def capture_of(self, parent: str) -> str:
        """What records the deletions of that parent (its label)."""
        return _chosen(self.capture, parent, CAPTURES)

    def by_trigger(self, parent: str) -> bool:
        """Whether a trigger records the deletions of that parent (its label)."""
        return self.capture_of(parent) in BY_TRIGGER

    def by_signal(self, parent: str) -> bool:
        """Whether Django's signals tell of the deletions of that parent (its label)."""
        return self.capture_of(parent) in BY_SIGNAL

    def is_off(self, parent: str) -> bool:
        """Whether the deletions of that parent (its label) are not recorded at all."""
        return self.capture_of(parent) == "off"

    def scan_policy_of(self, relation: str) -> str:
        """What follows when a scan of that relation (its label) finds orphans."""
        return _chosen(self.scan_policy, relation, SCAN_POLICIES)


def _refuse_unknown(name: str, value: object, known: tuple[str, ...], subject: str) -> None:
    chosen = [*value.values()] if isinstance(value, Mapping) else [value]
    if any(each not in known for each in chosen):
        raise InvalidSetting(
            f"INTEGRITY[{name!r}] is {value!r}; it takes one of {', '.join(known)},"
            f" or a dictionary of them by {subject}"
        )


def _refuse_undeclared(value: object) -> None:
    given = value if isinstance(value, list | tuple) else [None]
    if not all(isinstance(each, Relation) for each in given):
        raise InvalidSetting(
            f"INTEGRITY['relations'] is {value!r}; it takes a list of {Relation.__module__}."
            'Relation("analytics.Event.user_key", "auth.User")'
        )


def _chosen(value: str | Mapping[str, str], subject: str, known: tuple[str, ...]) -> str:
    return value if isinstance(value, str) else value.get(subject, known[0])


@functools.cache
def current() -> Settings:
    """The settings in force, validated.

    Raises `InvalidSetting` (an `ImproperlyConfigured`) for an unknown key or an unusable value.
    """
    given: dict[str, Any] = getattr(settings, "INTEGRITY", {})
    if not isinstance(given, Mapping):
        raise InvalidSetting(f"INTEGRITY is {given!r}; it takes a dictionary")
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in given:
        if name not in known:
            raise InvalidSetting(f"INTEGRITY[{name!r}] is no setting; known: {', '.join(known)}")
    return Settings(**given)


def _forget(*, setting: str, **_: object) -> None:
    if setting == "INTEGRITY":
        current.cache_clear()


setting_changed.connect(_forget, dispatch_uid="integrity.conf")
