"""A file goes with its post; then blog_db is restored from a backup, and a replay erases again."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.db import connections

from apps.integrity.report import receipt_text, receipts, status
from sandbox import backups

from . import files, proof, screen
from .healing import run_integrity
from .proof import Proof
from .receipt import MODEL, show
from .watch import WORKERS, Watch

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.servers import PostgreSQL

    from .data import Accounts
    from .stage import Stage
    from .story import Story

#: Small accounts whose posts have files: every second one is deleted. No other step needs them.
WITH_FILES = slice(2_000, 2_040)
#: A restore is noticed in half of this time: apps/integrity/control/restores.py.
NOTICE_SECONDS = 90.0
RESTORED = "blog_db"


@dataclass(kw_only=True)
class Backup:
    """A base backup of the server of blog_db, and a copy of the folder of files."""

    server: PostgreSQL
    base: PostgreSQL
    media: Path
    copy: Path

    @classmethod
    def of(cls, stage: Stage) -> Backup | None:
        """Make one now; None if the demo did not start the servers, which it must not stop."""
        server = stage.servers.get(RESTORED)
        if server is None:
            return None
        copy = stage.directory / "media-backup"
        shutil.copytree(stage.media, copy)
        base = backups.base_backup(server, f"backup-{RESTORED}")
        return cls(server=server, base=base, media=stage.media, copy=copy)

    def restore(self) -> None:
        """Put the server and the folder back to the backup."""
        connections[RESTORED].close()
        backups.put_back(self.server, self.base)
        shutil.copytree(self.copy, self.media, dirs_exist_ok=True)


@dataclass(kw_only=True)
class Filed:
    """Accounts that are deleted, the names of their files, and of those that must stay."""

    users: list[User]
    doomed: list[str]
    kept: list[str]

    @property
    def keys(self) -> list[int]:
        """The keys of the accounts."""
        return [user.pk for user in self.users]

    def until_erased(self, story: Story) -> None:
        """Wait until none of their files is left, and check that no other one is missing."""
        what = "the files to be erased"
        story.stage.until(what, lambda: not files.left(self.doomed), blame=WORKERS)
        left, kept = files.left(self.doomed), files.left(self.kept)
        claim = "no file of their posts is left"
        story.prove(Proof(claim=claim, held=left == 0, figure=left))
        claim = "every file of an existing account is there"
        story.prove(Proof(claim=claim, held=kept == len(self.kept), figure=kept))


def erase_files(story: Story, accounts: Accounts) -> Filed:
    """Step 5: accounts are deleted whose posts have files."""
    screen.heading("5. A file goes with its post")
    users = accounts.small[WITH_FILES]
    doomed, living = users[::2], users[1::2]
    filed = Filed(users=doomed, doomed=files.names(doomed), kept=files.names(living))
    screen.say(
        'INTEGRITY["steps"] names FieldFiles, which deletes the files that rows name.'
        f" {len(doomed)} accounts are deleted whose posts have {len(filed.doomed)} files:"
    )
    keys = filed.keys
    watch = Watch.of(story.stage, doomed)
    User.objects.filter(pk__in=keys).delete()
    accounts.truth.gone.update(keys)
    watch.until_gone()
    filed.until_erased(story)
    story.figures["files"] = {"erased": len(filed.doomed), "kept": len(filed.kept)}
    return filed


def survive_restore(story: Story, backup: Backup | None, filed: Filed) -> None:
    """Step 6: blog_db and the files are restored from a backup, noticed, and replayed."""
    screen.heading("6. blog_db is restored from a backup")
    if backup is None:
        screen.say("Left out: the demo did not start this server, and may not restore it.")
        return
    started = time.monotonic()
    backup.restore()
    rows, back = proof.remaining(filed.keys)[RESTORED], files.left(filed.doomed)
    screen.say(
        "blog_db and the files are put back to a backup that was made before step 5:"
        f" {rows:,} rows and {back:,} files of deleted accounts are back. Receipts say that they"
        " are gone. Workers compare blog_db with their log:"
    )
    fault = _noticed(story.stage)
    seconds = round(time.monotonic() - started, 1)
    cause = fault["cause"].removeprefix("paused: ").partition(". ")[0]
    screen.say(f"Noticed after {seconds:,.1f} s; work on blog_db is paused: {cause}.")
    left = proof.remaining(filed.keys)[RESTORED]
    claim = "the restore is noticed, and nothing was deleted in blog_db since"
    story.prove(Proof(claim=claim, held=0 < rows == left, figure=left))
    _replay(story, filed)
    story.figures["restore"] = {"rows": rows, "files": back, "noticed_seconds": seconds}


def _noticed(stage: Stage) -> dict[str, Any]:
    """Wait until the status names the restore; return that fault."""
    found: list[dict[str, Any]] = []

    def is_named() -> bool:
        faults: Any = status.collect_status()["faults"]
        found[:] = [each for each in faults if each["kind"] == "restored"]
        return bool(found)

    what = "the restore to be noticed"
    stage.until(what, is_named, blame=WORKERS, seconds=NOTICE_SECONDS, pause=0.5)
    return found[0]


def _replay(story: Story, filed: Filed) -> None:
    """Look what a replay would do, do it, and check that all is erased again."""
    watch = Watch.of(story.stage, filed.users)
    del watch.before["shop_db"]
    command = ("replay", "--database", RESTORED)
    (dry,) = run_integrity(*command)["databases"]
    screen.say(
        f"`manage.py integrity {' '.join(command)}` is a dry run: {dry['deletions']:,} deletions"
        " finished there since the backup. With --apply, they are followed again:"
    )
    (applied,) = run_integrity(*command, "--apply")["databases"]
    claim = "blog_db and the log agree again: work goes on, with these deletions"
    figure = applied["deletions"]
    story.prove(Proof(claim=claim, held=applied["resumed"], figure=figure))
    watch.restart()
    watch.until_gone()
    left = proof.remaining(filed.keys)[RESTORED]
    story.prove(Proof(claim="the replay has erased their rows again", held=left == 0, figure=left))
    filed.until_erased(story)
    _check_receipt(story, filed)


def _check_receipt(story: Story, filed: Filed) -> None:
    """Show what the receipt of an account says of the restore."""
    document = receipts.receipts_of(MODEL, str(filed.keys[0]))[0]
    show(document)
    said = [line for line in receipt_text.statement(document) if "restore of blog_db" in line]
    screen.say(" ".join(said))
    held = len(said) == 1 and "erased again at" in said[0]
    story.prove(Proof(claim="the receipt says what was undone and erased again", held=held))
    story.figures["undone"] = said
