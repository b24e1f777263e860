"""One round: deletes, restores in the middle of them, the replay as the guide has it, the check."""

from __future__ import annotations

import datetime as dt
import os
import random
import time
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from apps.integrity.control import actions
from apps.integrity.models import Cascade, ChildDatabase
from sandbox import project
from sandbox.processes import ProcessError
from tests.chaos import log, rows
from tests.chaos.truth import CHILD_DATABASES, PARENTS

from . import people
from .backup import Backup
from .deleter import Deleter
from .people import People

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.servers import Sandbox
    from tests.chaos.processes import Crew
    from tests.chaos.truth import Rows

#: What is restored, each alone and in pairs; a seed's number chooses.
CHOICES = (
    ("blog_db",),
    ("shop_db",),
    ("default",),
    ("blog_db", "shop_db"),
    ("blog_db", "default"),
    ("shop_db", "default"),
)
#: The promise, and how long it is watched beyond that.
PROMISED_SECONDS, WATCHED_SECONDS, PATIENCE_SECONDS = 60, 90, 60
DELETING_SECONDS = 15.0
OVER = (Cascade.State.DONE, Cascade.State.VERIFIED, Cascade.State.KEPT)
YESTERDAY = dt.timedelta(days=1)


class Round:
    """The round of one seed. `number` is its place among those of the same servers."""

    def __init__(
        self, seed: int, number: int, sandbox: Sandbox, crew: Crew, say: Callable[[str], None]
    ) -> None:
        self.seed, self.number, self.crew, self.say = seed, number, crew, say
        self.sandbox = sandbox
        # A seed makes the same decisions again.
        self.draw, self.of_deleter = random.Random(seed), random.Random(~seed)  # noqa: S311
        self.restored = CHOICES[seed % len(CHOICES)]
        self.people = People.of(self.draw, number)
        self.backups = dict[str, Backup]()
        #: Database → the clock before its backup.
        self.begun = dict[str, float]()
        self.failures: list[str] = []
        #: What the commands said; shown when a promise was broken.
        self.said: list[str] = []
        #: The clock after the restore.
        self.ended = 0.0

    def run(self) -> list[str]:
        """All of it; return what was broken."""
        rows.FILLED["user"]["date_joined"] = lambda: timezone.now() - YESTERDAY
        rows.load(self.people.rows)
        deleter = Deleter(self.people.doomed, self.of_deleter, seconds=DELETING_SECONDS)
        deleter.start()
        try:
            self._back_up()
            late = self._late()
            while len(deleter.committed) < len(deleter.keys) * people.BEFORE:
                time.sleep(0.05)
            self._note_certain(deleter, late)
            again = self._again(late)
            self._restore()
            self._register(again)
        finally:
            for backup in self.backups.values():
                backup.end()
            deleter.join(PATIENCE_SECONDS)
        self._note_after(deleter)
        undone = len(self.problems())
        if not undone:
            self.failures.append("too mild: the restore has brought nothing back")
        self._replay()
        self._converge()
        marks = ", ".join(alias + "+WAL" * self.backups[alias].is_marked for alias in self.restored)
        new = len(self.people.anew["user"])
        self.say(f"  seed {self.seed}: {marks}; {undone} erased were back, {new} keys used again")
        return self.failures

    def _back_up(self) -> None:
        """Make the backups at different moments; let half of them be rolled forward later."""
        for alias in self.restored:
            time.sleep(self.draw.uniform(0.2, 2))
            self.begun[alias] = time.monotonic()
            server, name = self.sandbox.postgres[alias], f"round-{self.number}-{alias}"
            self.backups[alias] = Backup(server, name)
        for backup in self.backups.values():
            if self.draw.random() < 0.5:
                time.sleep(self.draw.uniform(0.2, 2))
                backup.mark()

    def _late(self) -> list[int]:
        """Let people register after the backups, and be erased before the restore."""
        base = self.number * people.ROUND + people.LATER
        keys = [base + place for place in range(1, people.LATE + 1)]
        added = people.rows_of(self.draw, keys, base)
        self.people.add(added)
        rows.load(added)
        User.objects.filter(pk__in=keys).delete()
        self.people.gone |= {*keys}
        if not self._until(lambda: {*keys} <= self._done(CHILD_DATABASES), PATIENCE_SECONDS):
            raise ProcessError("the late people's rows were not deleted before the restore")
        return keys

    def _done(self, databases: tuple[str, ...] | set[str]) -> set[int]:
        """Return the users whose rows are deleted in all those databases, by the log."""
        done = [
            {
                int(deletion.key)
                for deletion, _ in log.held(
                    Cascade.objects.filter(database=database, state__in=OVER)
                )
                if deletion.key is not None
            }
            for database in databases
        ]
        return set.intersection(*done) if done else set()

    def _note_certain(self, deleter: Deleter, late: list[int]) -> None:
        """Note whose deletion is known after the restore: to the log, or to a ledger."""
        committed = dict(deleter.committed)
        if "default" not in self.restored:
            self.people.gone |= {*committed}
            return
        before = {key for key, at in committed.items() if at < self.begun["default"]}
        kept = [alias for alias in CHILD_DATABASES if alias not in self.restored]
        named = set[int]().union(*(self._done({alias}) for alias in kept))
        self.people.gone |= before | ({*committed} & named) | {*late}

    def _again(self, late: list[int]) -> list[int]:
        """Return keys of erased people that somebody new gets."""
        if "default" in self.restored:
            return late[: people.LATE // 2]
        erased = sorted(self._done(CHILD_DATABASES) & {*self.people.doomed})
        return [*late[:2], *self.draw.sample(erased, min(3, len(erased)))]

    def _register(self, keys: list[int]) -> None:
        """Let somebody new have those keys."""
        self.people.anew = people.rows_anew(keys, self.number)
        rows.FILLED["user"]["date_joined"] = timezone.now
        rows.load(self.people.anew)

    def _restore(self) -> None:
        for backup in self.backups.values():
            backup.restore()
        connections.close_all()
        self.ended = time.monotonic()

    def _note_after(self, deleter: Deleter) -> None:
        if deleter.is_alive():
            raise ProcessError("the deletes did not end")
        self.people.gone |= {*deleter.keys} - {*self._before(deleter)}

    def _before(self, deleter: Deleter) -> set[int]:
        """Return those who were deleted before the restore ended."""
        return {key for key, at in deleter.committed.items() if at < self.ended}

    def _replay(self) -> None:
        """Do what docs/how-to/restore-backups.md says, in its order."""
        if "default" in self.restored:
            self._command("replay", "--parents", "--override-brake", "a restore", "--apply")
        for alias in self.restored:
            if alias != "default":
                self._command("replay", "--database", alias, "--apply")
        for alias in CHILD_DATABASES:
            if "default" in self.restored:
                self._command("resume", "--database", alias, "--accept-restore")
        self.replayed = time.monotonic()

    def _command(self, *words: str) -> None:
        done = project.run("manage.py", "integrity", *words, "--json", env=dict(os.environ))
        if done.returncode not in {0, 3}:
            self.failures.append(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
        self.said.append(f"{' '.join(words)}: {done.stdout.strip()}")

    def _until(self, question: Callable[[], bool], seconds: float) -> bool:
        return self.crew.until(question, seconds)

    def _converge(self) -> None:
        if self._until(lambda: not log.open_work() and not self.problems(), WATCHED_SECONDS):
            took = time.monotonic() - self.replayed
            self.say(f"  converged {took:.1f} s after the replay")
            if took > PROMISED_SECONDS:
                self.failures.append(f"converged only after {took:.1f} s")
        else:
            self.failures.append(f"not converged {WATCHED_SECONDS} s after the replay")
            self.failures += [f"paused: {each}" for each in self._paused()]
            self.failures += [f"blocked: {each}" for each in log.blocked()[:8]]
        if not self._until(lambda: not log.unverified(), PATIENCE_SECONDS):
            self.failures.append(f"{log.unverified()} deletions were never verified")
        self.failures += self.problems()[:8]

    def _paused(self) -> list[str]:
        known = ChildDatabase.objects.values_list("alias", flat=True)
        reasons = {alias: actions.paused_reason(alias, using="default") for alias in known}
        return [f"{alias}: {reason}" for alias, reason in reasons.items() if reason]

    def problems(self) -> list[str]:
        """Return what is not as it must be among the rows of this round."""
        return self.people.problems(self._rows())

    def _rows(self) -> Rows:
        base = self.number * people.ROUND
        keys = range(base, base + people.ROUND)
        found = rows.stored()
        return {
            kind: {key: row for key, row in found[kind].items() if key in keys} for kind in PARENTS
        }
