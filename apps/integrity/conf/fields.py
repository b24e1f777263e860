"""The keys of `settings.INTEGRITY`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..declared import Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The keys of `settings.INTEGRITY` and their defaults. Units are in the names."""

    relations: Sequence[Relation] = ()
    """Plain columns that hold keys of parents in another database, and GenericForeignKeys that
    point to such parents. Each entry is a `declared.Relation`."""

    ignored: Mapping[str, str] | None = None
    """Relations that nothing follows, scans or counts, and why, as in
    {"shop.HistoricalOrder.customer": "history keeps the keys of deleted customers"}. Their policy
    has no effect between databases. Receipts name them with the reason."""

    unconstrained: Sequence[str] = ()
    """Labels of apps whose keys to other databases get no constraint there, as in ["auditlog"]:
    neither by their migrations nor afterwards. For apps whose code is not yours; see
    [third-party apps](../how-to/third-party-apps.md)."""

    capture: str | Mapping[str, str] = "signal"
    """How deletions are recorded: "signal", "trigger" (PostgreSQL only), "both" or "off". On
    PostgreSQL, "trigger" is recommended: it takes the least time, and records deletes that send no
    signal. "signal" works on every database, and needs no triggers to be installed. A dictionary
    chooses by parent, as in {"auth.User": "both"}; parents that it does not name use "signal".
    "off" is the first step to uninstall the app: deletes succeed and are not recorded, so the
    project itself has to remove rows in other databases that reference the deleted rows."""

    steps: Mapping[str, Any] | None = None
    """What erases outside the databases, by name, as in {"files": "shop.erasure.Files"}: the dotted
    path of a subclass of `erasure.Step`, or a pair of that and a dictionary of its options. Each
    has a queue of its own, as a child database has: `integrity.step.files`. See
    [erase more than rows](../how-to/erase-more-than-rows.md)."""

    claim_keys: int = 1_000
    """The most cascades that a worker claims at once, and so the most keys in one statement."""

    statement_rows: int = 1_000
    """Rows in the first statement of a relation. The batch size then adapts to the measured time.
    If other relations of the database have adapted already, it starts from the smallest of
    theirs."""

    statement_rows_max: int = 40_000
    """The most rows that one statement changes or deletes."""

    statement_seconds: float = 0.1
    """The target duration of one transaction of a cascade. A slower transaction halves the batch
    size; one that took less than half of the target raises it to what fits into the target."""

    second_connection: bool = True
    """Whether a worker deletes the rows of a key that has very many over two connections at once
    (PostgreSQL only). With False it uses one, which takes longer and leaves more of a small server
    to others. A database with limits in `pressure` gets one in any case."""

    lock_seconds: float = 2.0
    """How long a step waits for a row that another transaction has locked, before it skips the row.
    A PROTECT or RESTRICT check waits as long for a table. Each attempt to install a trigger waits a
    tenth of it."""

    turn_seconds: float = 1.0
    """The length of a time slice: how long one claim may work before it lets others go on."""

    run_seconds: float = 20.0
    """How long one task works before it leaves the rest to the next message. Must be less than the
    tasks' soft time limit in Celery, which is 45 s."""

    lease_seconds: float = 8.0
    """How long a claim is valid without being renewed. Then another worker may take it over."""

    attempts: int = 8
    """How often one cascade may fail before it is blocked until an operator retries it."""

    backoff_seconds: float = 2.0
    """The delay before the retry after a first failure. Each further failure doubles it, and jitter
    is added."""

    backoff_seconds_max: float = 600.0
    """The longest delay between two attempts."""

    child_connections_max: int = 6
    """The most connections to child databases that a worker process keeps open. Before it works on
    another child database, it closes the one that it has not used for longest. The log and parents'
    databases do not count."""

    probe_seconds: float = 5.0
    """How often a worker tries again to connect to an unreachable database."""

    stalled_seconds: float = 900.0
    """Work that has waited longer than this raises the alarm "stalled"."""

    grace_seconds: float = 60.0
    """The delay between the end of a cascade and its verification, and between the first time that
    a scan misses a parent and the recheck. Inserts that were still under way have committed by
    then."""

    unproven_seconds: float = 900.0
    """A cascade that is still not verified this long after its grace period raises the alarm
    "unproven"."""

    deadline_days: float | Mapping[str, float | None] | None = None
    """Within how many days a deletion has to be verified in all child databases. One number, or a
    dictionary by parent, as in {"auth.User": 30, "*": 90}; "*" stands for all that are not named,
    and None sets none. {} sets no deadlines but allows `capture.because(deadline=...)`. What is
    nearest its deadline is worked on first; see [meet deadlines](../how-to/meet-deadlines.md). None
    switches all of it off. The deadline of a deletion is stored with it: later changes of the
    setting do not change it."""

    deadline_margin_share: float = 0.2
    """Where the rate of a database is not known, as while it is paused, the alarm "at risk" is
    raised once less than this share of a deadline is left (0.2 is a fifth)."""

    pressure: Mapping[str, Mapping[str, Any]] | None = None
    """Limits that slow down cascades and scans in a child database. The keys are aliases; "*"
    stands for all that are not named. The options of each are `max_replica_lag_seconds` (and
    `replica_lag` if the server cannot report it), `max_rows_per_second`, `quiet_hours` and `busy`;
    see [work gently](../how-to/work-gently.md). None sets no limits."""

    scan_policy: str | Mapping[str, str] = "report"
    """What happens to orphans that a scan finds: "report" or "repair". A dictionary chooses by
    relation, as in {"blog.Post.author": "repair"}; other relations use "report"."""

    scan_period_seconds: float = 86_400.0
    """How often a new pass over each relation begins."""

    scan_seconds: float = 5.0
    """How long one task scans one child database."""

    scan_step_keys_max: int = 50_000
    """The most distinct keys that one step of a scan reads."""

    scan_step_seconds: float = 0.25
    """The target duration of one step of a scan. The number of keys adapts to it as the number of
    rows adapts to `statement_seconds`."""

    brake_share: float = 0.01
    """Repair nothing when more than this share of a relation's keys has no parent (0.01 is 1 %)."""

    brake_keys: int = 100
    """Up to this number of missing parents, the brake ignores their share."""

    retention_days: float = 30.0
    """How long deletions stay in the log after they are verified, kept or cancelled. Export their
    receipts before, with `manage.py integrity receipts`. Failed attempts stay as long."""

    ledger_days: float = 400.0
    """How long each child database keeps its ledger: the keys of the parents whose rows were
    deleted or changed there, and how many. After a backup was restored, `manage.py integrity
    replay` erases again what the ledgers name. Keep it longer than your oldest backup. The ledger
    is kept for `retention_days` if that is longer."""

    purge_keys: int = 5_000
    """The most deletions that one transaction purges."""

    heartbeat_retention_days: float | None = 7.0
    """How long the last heartbeat of a stopped process is kept; None keeps it forever. The
    heartbeats of beat and of the worker that was seen last are always kept."""

    audit_retention_days: float | None = 365.0
    """How long the audit of operator actions is kept; None keeps it forever. To delete from it,
    run `manage.py integrity purge` as a role that has DELETE on the table; workers do not need
    that privilege."""

    dispatch_keys: int = 5_000
    """The most deletions that one step of a dispatch takes, in transactions of up to 1,000."""

    wakeups: bool = True
    """Whether to notify workers by a message after each commit. If False, workers find new
    deletions only when beat triggers them."""

    notify: str = ""
    """The dotted path of a function that sends these messages, in place of Celery; see [other task
    queues](../how-to/other-task-queues.md)."""

    wakeup_timeout_seconds: float = 0.5
    """The longest wait for the broker while publishing. It never delays a request: messages are
    published in another thread."""

    wakeup_retry_seconds: float = 5.0
    """The pause after publishing has failed, before the next attempt."""

    flower_url: str = ""
    """The address of Flower, for the link on the dashboard; "" shows no link."""

    metrics_token: str = ""
    """The token that a scrape of the metrics has to send as `Authorization: Bearer …`; "" requires
    none. With this token, healthz also shows the state of each child database."""

    healthz_token: str = ""
    """The token that a probe of healthz has to send likewise. The metrics' token is accepted,
    too. "" requires none."""

    figures_seconds: float = 2.0
    """How long a process caches the figures of healthz, the metrics and the overview. Figures that
    take long to compute are cached up to five times as long."""

    protect_limit: int = 100
    """The most referring rows that a PROTECT or RESTRICT check loads for its error."""

    protect_keys: int = 100_000
    """The most keys that a PROTECT or RESTRICT check carries from one database to another or around
    a cycle of relations, and the most restricted rows for which it checks whether the delete
    removes them, too. A delete that needs more is refused."""

    log_role: str = "integrity_log"
    """The PostgreSQL role that the triggers run as. It may only insert into the log. It is created
    when the triggers are installed, if the installing role may create roles."""

    drop_log: bool = False
    """Whether `migrate integrity zero` may drop the log although it holds recorded deletions or
    unfinished work. That work is lost, and the rows in the child databases stay."""
