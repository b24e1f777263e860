"""Guides to databases that do not answer, or that may be the wrong ones."""

from __future__ import annotations

from .guide import Guide, Look

LOG_UNREACHABLE = Guide(
    kind="log_unreachable",
    title="A deletion log cannot be reached",
    subject="DATABASE",
    means="The log is in the database of the parents, and that database does not answer. Deletes of"
    " these parents fail, and no work that this log has recorded is done.",
    look=(
        Look("manage.py integrity doctor", "The line `database DATABASE` has the server's error."),
        Look("manage.py integrity status", "The logs that do answer, and what is open in them."),
    ),
    steps=(
        "Check the server, the network and the address, role and password in `DATABASES`.",
        "Start the server, or correct the settings and restart web processes and workers.",
        (
            "If the server returns from a backup, expect the fault `restored` next: see the guide"
            " `restored`."
        ),
    ),
    over="`manage.py integrity doctor` reports `database DATABASE: answers`. Work resumes by"
    " itself.",
    safe="A delete that fails is rolled back, so its rows and its parent are still there. Deletions"
    " that were recorded before are still in the log.",
)

UNREACHABLE = Guide(
    kind="unreachable",
    title="A child database cannot be reached, or cannot be worked on",
    subject="DATABASE",
    means="Workers cannot connect to the child database, or it answers and refuses the work: it is"
    " read-only, its disk is full, or it is shutting down. Its deletions wait, no attempt is"
    " counted, and no other database is affected.",
    look=(
        Look(
            "manage.py integrity status",
            "The reason: `cannot be reached: …`, or `cannot be worked on: …` with the cause.",
        ),
        Look("manage.py integrity doctor", "The error that this process gets from the database."),
    ),
    steps=(
        (
            "`cannot be reached`: check the server, the network, and the role and password in"
            " `DATABASES`. If `doctor` can reach it from here, check it from the workers' machine."
        ),
        (
            "`it is read-only`: the alias points to a standby, or the server was switched over."
            " Point the alias to the primary and restart the workers."
        ),
        "The disk is full: free space on the server.",
        (
            "Nothing else is needed. The database is probed again every `probe_seconds`, on a new"
            " connection."
        ),
    ),
    over="`manage.py integrity status` no longer has a reason for the database, and its backlog"
    " shrinks.",
    safe="Users can still be deleted. Each deletion stays in the log until the database takes it.",
)

PAUSED = Guide(
    kind="paused",
    title="Work on a child database is paused",
    subject="DATABASE",
    means="An operator paused work on the child database. Deletions are recorded and wait, and the"
    " database is not scanned.",
    look=(
        Look("manage.py integrity status", "The reason that the operator gave, and the backlog."),
    ),
    steps=(
        "Read on the dashboard's page Audit who paused it, when and why, and ask that person.",
        (
            "When the cause is gone: `manage.py integrity resume --database DATABASE`. The"
            " overview has a button for it."
        ),
    ),
    over="`manage.py integrity status` shows `working` or `idle` for the database.",
    safe="Users can still be deleted. Each deletion stays in the log until work is resumed.",
)

IDENTITY_MISMATCH = Guide(
    kind="identity_mismatch",
    title="A child database belongs to another parents' database",
    subject="DATABASE",
    means="The child database remembers another identity of its parents' database than the one that"
    " the alias reaches now. Compared with the wrong parents, every row would look like an orphan,"
    " so nothing is deleted there until an operator has looked.",
    look=(
        Look("manage.py integrity status", "Both identities, and which alias was compared."),
        Look("manage.py integrity doctor", "The same check, made now, from this machine."),
    ),
    steps=(
        (
            "Check that both aliases in `DATABASES` point where they should: host, port and name"
            " of the database, for web processes, workers and beat."
        ),
        (
            "If one is wrong, correct it, restart the processes that have it, and run `manage.py"
            " integrity resume --database DATABASE`."
        ),
        (
            "If both are right, because the parents' database was moved or created again:"
            " `manage.py integrity resume --database DATABASE --accept-identity --reason"
            ' "why"`. It is audited.'
        ),
    ),
    over="`manage.py integrity doctor` reports `identity DATABASE: matches its parents`.",
    safe="Nothing is deleted in the child database while this lasts. Deletions stay in the log.",
)

RESTORED = Guide(
    kind="restored",
    title="A database was restored from a backup",
    subject="DATABASE",
    means="The log and the child database both count the newest cascades, and they disagree, so"
    " one of them was restored from a backup. Nothing is deleted in the child database until an"
    " operator has looked.",
    look=(
        Look(
            "manage.py integrity status",
            "Which of the two lost something: the reason begins `it was restored` for the child"
            " database, or `the log … was restored`.",
        ),
    ),
    steps=(
        (
            "If you can, restore the other database to the same moment. Then `manage.py integrity"
            " resume --database DATABASE` is enough."
        ),
        (
            "The child database was restored: rows that were deleted after the backup are back,"
            " although their receipts say that they are gone. `manage.py integrity replay"
            " --database DATABASE` says which deletions that concerns. With `--apply`, they are"
            " followed again, and work on the database goes on."
        ),
        (
            "The log was restored, with its parents: parents that were deleted after the backup"
            " are back, without their rows in this database. Parents that were created after it"
            " are missing, and their rows look like orphans. Bring these parents back before you"
            " resume or repair anything. `manage.py integrity replay --parents` lists erased"
            " parents that are back, and with `--apply` deletes them again."
        ),
        (
            "To go on with both as they are: `manage.py integrity resume --database DATABASE"
            ' --accept-restore --reason "why"`. Then find what is left with `manage.py integrity'
            " scan --database DATABASE --full`, and see the guide `orphans`."
        ),
    ),
    over="`manage.py integrity status` has no reason for the database. Receipts say what was undone"
    " and erased again. If you accepted the restore instead, receipts of the cascades concerned no"
    " longer say that their rows were counted.",
    safe="Nothing is deleted in the child database while this lasts. The log cannot show what the"
    " restore itself undid.",
)

GUIDES = (LOG_UNREACHABLE, UNREACHABLE, PAUSED, IDENTITY_MISMATCH, RESTORED)
