"""Guides to rows that could not be deleted, and to rows that nobody has decided about."""

from __future__ import annotations

from .guide import Guide, Look

FAILING = Guide(
    kind="failing",
    title="Attempts fail and are repeated",
    subject="DATABASE",
    means="A cascade into this child database failed, and will be tried again after a growing"
    " delay. After `attempts` failures it is blocked and waits for an operator.",
    look=(
        Look(
            "manage.py integrity status",
            "How many deletions fail, the commonest reason, and when the next attempt is due.",
        ),
        Look(
            "manage.py integrity receipt MODEL KEY",
            "For one deletion: attempts, the last error, and what is done elsewhere.",
        ),
    ),
    steps=(
        (
            "Read the reason. It names table, column and constraint, or the receiver of a signal"
            " that raised the error."
        ),
        (
            "Remove the cause: a trigger or constraint that refuses the delete, a receiver that"
            " raises, a missing privilege (`manage.py integrity grants ROLE` prints what a role"
            " needs). If a table is missing and `migrate` has nothing to apply, it was renamed or"
            " dropped by hand: bring it back."
        ),
        "Then wait: the next attempt starts by itself, at most `backoff_seconds_max` later.",
    ),
    over="`manage.py integrity status` has no reason for the database.",
    safe="What failed was rolled back, and its deletion stays in the log. Other deletions continue:"
    " the claim is bisected until the failing one is found.",
)

BLOCKED = Guide(
    kind="blocked",
    title="Deletions are blocked",
    subject="DATABASE",
    means="Cascades into this child database failed on every attempt. They are not tried again"
    " until an operator retries them.",
    look=(
        Look("manage.py integrity status", "How many are blocked, and the commonest reasons."),
        Look(
            "manage.py integrity receipt MODEL KEY",
            "For one deletion: attempts and the last error. The dashboard's page Deletions lists"
            " all that are blocked.",
        ),
    ),
    steps=(
        "Read the reason and remove the cause, as in the guide `failing`.",
        (
            "`manage.py integrity retry --all` makes all of them due again, `manage.py integrity"
            " retry ID` only one. The overview and the page of a deletion have buttons for it."
        ),
    ),
    over="`manage.py integrity status` counts no blocked deletions.",
    safe="Blocked deletions stay in the log and are never purged. The rows that they would delete"
    " are still there.",
)

UNPROVEN = Guide(
    kind="unproven",
    title="Deletions are done and not verified",
    subject="DATABASE",
    means="The rows are gone, but it is not proven that no transaction inserted another one"
    " afterwards. Verification has waited for longer than the grace period and `unproven_seconds`.",
    look=(
        Look(
            "manage.py integrity status",
            "The reason for which verification waits. The steps below begin with it.",
        ),
    ),
    steps=(
        (
            "`waits for transaction … of pid …`: a session has written and is still open, in this"
            " database or another one of the same server. Look at it: `SELECT pid, usename,"
            " application_name, state, xact_start FROM pg_stat_activity WHERE pid = PID`. End it"
            " in its client, or with `SELECT pg_terminate_backend(PID)`. The server's setting"
            " `idle_in_transaction_session_timeout` prevents the next one."
        ),
        (
            "`waits for the prepared transaction '…'`: end it in the database that is named, with"
            " `COMMIT PREPARED 'GID'` or `ROLLBACK PREPARED 'GID'`."
        ),
        (
            "`a transaction of another role`: the workers' role sees only its pid. `GRANT"
            " pg_read_all_stats TO ROLE` shows the rest."
        ),
        (
            "`waits for rows that an open transaction has changed`: on MySQL and MariaDB the server"
            " does not say which transaction it is, but the oldest one that has changed rows is"
            " named to a role with the PROCESS privilege: `GRANT PROCESS ON *.* TO ROLE`. End it in"
            " its client, or with `KILL THREAD`; a prepared one with `XA ROLLBACK 'GID'`."
        ),
        (
            "`paused: …`, `cannot be reached: …` or `cannot be worked on: …`: follow the guide of"
            " that fault first."
        ),
        (
            "`no worker has verified it`: `manage.py integrity doctor` says whether beat runs and a"
            " worker consumes the queue."
        ),
    ),
    over="`manage.py integrity status` counts nothing unproven, and receipts say verified.",
    safe="Readers, replication slots and standbys do not hold up verification. After a restored"
    " dump or a switchover it takes one more grace period.",
)

BRAKE = Guide(
    kind="brake",
    title="The brake refuses a repair",
    subject="RELATION",
    means="So many keys of a relation have no parent that the figures are absurd: the parents'"
    " table may be empty, restored, or the wrong one. Nothing of the relation is repaired.",
    look=(
        Look(
            "manage.py integrity repair --relation RELATION",
            "What a repair would change, and why the brake refuses it. It changes nothing.",
        ),
        Look("manage.py integrity doctor", "Whether the databases are the ones that you expect."),
    ),
    steps=(
        "Check the parents' database: is it the right one, was it restored, is its table empty?",
        (
            "If it was wrong, correct it and scan again: `manage.py integrity scan --relation"
            " RELATION --full`. The brake is released when a complete scan finds plausible"
            " figures."
        ),
        (
            "Only if the parents are really gone: `manage.py integrity repair --relation RELATION"
            ' --apply --override-brake "why this is right"`. It is audited.'
        ),
    ),
    over="`manage.py integrity repair --relation RELATION` shows no brake.",
    safe="Nothing is deleted by scans while this lasts. Deletions that the site records are not"
    " affected.",
)

ORPHANS = Guide(
    kind="orphans",
    title="Scans found rows whose parent is gone",
    subject="RELATION",
    means="Scans found rows whose parent does not exist. Raw SQL, a restored backup, or deletes"
    " from before this app was installed can leave such rows.",
    look=(
        Look(
            "manage.py integrity repair",
            (
                "Which relations have such rows, and how many a repair would change. It changes"
                " nothing."
            ),
        ),
    ),
    steps=(
        "Find out why the parents are gone. If they should be there, bring them back.",
        (
            "If they are rightly gone: `manage.py integrity repair --relation RELATION --apply`."
            " Each missing parent is checked once more, then becomes a deletion with a receipt."
        ),
        (
            'To let scans repair such a relation by themselves, set `scan_policy` to `"repair"`'
            " for it."
        ),
        (
            "If raw SQL deletes parents regularly, record these deletes with the trigger (setting"
            " `capture`)."
        ),
    ),
    over="The next complete scan finds none: `manage.py integrity scan --relation RELATION"
    " --full`.",
    safe="With the default `scan_policy` nothing is deleted until an operator repairs it.",
)

KEPT = Guide(
    kind="kept",
    title="Deletions left rows in place",
    subject="DATABASE",
    means="Rows were left in place because the value that they refer to belongs to a new row, or"
    " their parent was restored. Nothing about these rows is proven, and the new owner of the value"
    " may see those of the old one.",
    look=(
        Look(
            "manage.py integrity receipt MODEL KEY",
            "How many rows of which relation were kept, and since when (`kept_at`). The dashboard's"
            " page Deletions lists all that kept rows.",
        ),
    ),
    steps=(
        (
            "Look at the rows of that relation. Those of the old owner are older than `kept_at`;"
            " move or delete them yourself, because only you can tell them apart."
        ),
        (
            "If the value is free again, because the new row was removed or renamed: `manage.py"
            " integrity retry ID` deletes the rows."
        ),
        (
            'If the rows should stay: `manage.py integrity acknowledge ID --reason "why"`. The'
            " deletion stays kept, and is never called verified."
        ),
    ),
    over="Each such deletion is acknowledged or retried.",
    safe="No row whose parent exists is deleted. The deletion stays in the log as kept.",
)

UNKNOWN = Guide(
    kind="unknown",
    title="Open work has a name that this release does not know",
    subject="OLD",
    means="Open work names a model, a relation, a field or a database that was renamed or removed"
    " while deletions were under way. No worker does this work.",
    look=(
        Look(
            "manage.py integrity status",
            "Each unknown name, with the command that moves its work to a new name.",
        ),
    ),
    steps=(
        "During a deploy, wait until the old processes have ended: the work may be theirs.",
        (
            "Renamed: `manage.py integrity rename OLD NEW` shows how many rows change, and with"
            " `--apply` changes them."
        ),
        (
            'Removed for good: `manage.py integrity rename OLD --close "why" --apply` gives up'
            " the work. It is audited, and such deletions are never called verified."
        ),
    ),
    over="`manage.py integrity status` lists no unknown names.",
    safe="The work stays in the log, and no attempt is counted, until it is renamed or given up.",
)

LATE = Guide(
    kind="late",
    title="Deadlines are missed",
    subject="DATABASE",
    means="Deletions that had to be verified by a deadline (`deadline_days`, or"
    " `capture.because(deadline=...)`) are not verified in this child database, and the deadline"
    " has passed.",
    look=(
        Look(
            "manage.py integrity status",
            "How many are late, and what else is wrong with the database.",
        ),
        Look("manage.py integrity receipt MODEL KEY", "Which deadline one deletion had."),
    ),
    steps=(
        "If another fault names the database, follow its guide first: it is the cause.",
        "Else start more workers on the queue of the database.",
        (
            "Tell who promised the deadline. Receipts say by how much it was missed; the export"
            " `manage.py integrity receipts` has the column `deadline`."
        ),
    ),
    over="`manage.py integrity status` counts none that is late: all are verified.",
    safe="Late deletions are worked on like all others, and before those with later deadlines.",
)

AT_RISK = Guide(
    kind="at_risk",
    title="Deadlines are at risk",
    subject="DATABASE",
    means="The work that comes before a deadline takes longer than the time that is left, at the"
    " rate of the last five minutes. Or that rate is not known, because nothing is done there, and"
    " less than the share `deadline_margin_share` of the deadline is left.",
    look=(
        Look(
            "manage.py integrity status",
            "How much work there is, how fast it is done, and the margin of the nearest deadline.",
        ),
    ),
    steps=(
        "If another fault names the database, follow its guide first: it is the cause.",
        "If `pressure` slows the work down, raise its limits.",
        "Else start more workers on the queue of the database.",
    ),
    over="The work takes less than four fifths of the remaining time.",
    safe="No deadline is missed yet. What is nearest its deadline is worked on first.",
)

GUIDES = (FAILING, BLOCKED, UNPROVEN, LATE, AT_RISK, BRAKE, UNKNOWN, KEPT, ORPHANS)
