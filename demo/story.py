"""The steps of the demo, in order. Each adds its figures to the story."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections

from apps.integrity.conf import current
from apps.integrity.conf.steps import is_step
from apps.integrity.control import actions
from apps.integrity.report import receipts
from sandbox import tables
from tests.chaos.truth import orphans

from . import data, erasures, files, healing, measurement, proof, restoring, screen
from .browser import Browser
from .failure import NotEmpty
from .outage import refusing
from .proof import Proof
from .receipt import MODEL, show
from .stage import ADMIN
from .watch import WORKERS, Watch, until_idle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apps.integrity.report.rows import DatabaseRow

    from .data import Accounts
    from .stage import Stage

#: The allowed ratio to a request without rows. Deleting the rows would take hundreds of times.
LIMIT = 2
EMPTY_DELETIONS = 3
ADMIN_ACTION_USERS = 500
OUTAGE_USERS = 50
UNRECORDED_USERS = 50
BRAKE_EXIT_CODE = 6
#: The longest time for verification, after the grace period.
VERIFY_SECONDS = 60.0


@dataclass
class Story:
    """The results so far: figures by step, and proofs."""

    stage: Stage
    figures: dict[str, Any] = field(default_factory=dict)
    proofs: list[Proof] = field(default_factory=list)

    def prove(self, *proofs: Proof) -> None:
        """Add proofs and print them."""
        for item in proofs:
            figure = "" if item.figure is None else f": {item.figure:,}"
            screen.verdict(item.claim + figure, held=item.held)
            self.proofs.append(item)

    def show_addresses(self) -> None:
        """Print the addresses and logins."""
        web, flower = self.stage.web_address, self.stage.flower_address
        login = f"{ADMIN} / {self.stage.password}"
        screen.table(
            ("page", "address", "login"),
            (
                ("site", f"{web}/", ""),
                ("admin", f"{web}/admin/", login),
                ("Flower", f"{flower}/tasks", login),
            ),
        )


def tell(story: Story) -> None:
    """Run all steps."""
    accounts = prepare(story)
    measure_request(story, accounts)
    start_the_rest(story, accounts)
    scanned_at = find_orphans(story, accounts)
    delete_giant(story, accounts)
    delete_in_admin(story, accounts)
    survive_outage(story, accounts)
    survive_kill(story, accounts)
    backup = restoring.Backup.of(story.stage)
    erased = restoring.erase_files(story, accounts)
    restoring.survive_restore(story, backup, erased)
    heal(story, scanned_at)
    refuse_wrong_database(story)
    check_receipts(story, accounts)
    conclude(story, accounts)


def prepare(story: Story) -> Accounts:
    """Migrate the databases and load the data."""
    screen.heading("Setting up")
    started = time.monotonic()
    with screen.bars("migrated", dict.fromkeys(connections, 1)) as progress:
        for alias in connections:
            call_command("migrate", database=alias, verbosity=0, interactive=False)
            progress(alias, 1)
    tables.grant()
    if User.objects.exists():
        raise NotEmpty(
            "the databases in DATABASE_URL… already have accounts: the demo needs empty ones"
        )
    story.stage.start_web()  # it is ready when it is needed
    accounts = data.create_accounts()
    User.objects.create_superuser(ADMIN, password=story.stage.password)
    with screen.bars("rows", data.totals(accounts)) as progress:
        data.load(accounts, progress)
    files.attach(accounts.small[restoring.WITH_FILES])
    seconds = round(time.monotonic() - started, 1)
    story.figures["load"] = {"users": data.USERS, "rows": accounts.left, "seconds": seconds}
    screen.say(
        f"{data.USERS:,} accounts in default, {accounts.left:,} rows in blog_db and shop_db;"
        f" one account has {data.GIANT.rows:,} of them."
    )
    return accounts


def measure_request(story: Story, accounts: Accounts) -> None:
    """Time the request, before any worker runs."""
    screen.heading("How long does the request take?")
    story.stage.await_web()
    address = story.stage.web_address
    total = measurement.WARM_UP + measurement.PAIRS
    with screen.bars("pairs of requests", {"web": total}) as progress:
        figures = measurement.measure(address, accounts, lambda number: progress("web", number))
    story.figures["request"] = figures | {"limit": LIMIT}
    screen.say(
        f"Deleting the account with {data.GIANT.rows:,} rows takes"
        f" {figures['giant_milliseconds']:,.1f} ms, an account with none"
        f" {figures['empty_milliseconds']:,.1f} ms (median of {figures['pairs']})."
    )
    claim = f"the request takes at most {LIMIT} times that of an empty account"
    story.prove(Proof(claim=claim, held=figures["ratio"] <= LIMIT, figure=figures["ratio"]))


def start_the_rest(story: Story, accounts: Accounts) -> None:
    """Start the workers, beat and Flower. They keep the rows of the re-created account."""
    stage, giant = story.stage, accounts.giant
    screen.heading("Starting the workers, beat and Flower")
    stage.start_workers()
    stage.start_flower()
    stage.await_workers()
    stage.await_flower()
    story.show_addresses()
    until_idle(stage, "the measured deletions to be finished")
    documents = receipts.receipts_of(MODEL, str(giant.pk))
    # The step has found nothing, and ends later.
    states = [
        {one["state"] for one in document["cascades"] if not is_step(one["database"])}
        for document in documents
    ]
    left = sum(proof.remaining([giant.pk]).values())
    story.figures["kept"] = {"deletions": states.count({"kept"}), "rows_left": left}
    actions.acknowledge(None, actor="demo", reason="the account exists again", using="default")
    screen.say(
        f"The large account exists again under its old key. Its {len(states)} measured deletions"
        " end as kept, and no row is deleted."
    )
    held = all(each == {"kept"} for each in states) and left == data.GIANT.rows
    story.prove(Proof(claim="no row of the re-created account is deleted", held=held, figure=left))


def delete_giant(story: Story, accounts: Accounts) -> None:
    """Step 1: delete an account with the button "Delete my account"."""
    screen.heading(f"1. An account with {data.GIANT.rows:,} rows deletes itself")
    giant, address = accounts.giant, story.stage.web_address
    giant.set_password(story.stage.password)
    giant.save()
    browser = Browser(address)
    browser.log_in("/login/", name=giant.username, password=story.stage.password)
    browser.get(measurement.PAGE)
    empty_milliseconds = median(
        measurement.delete(address, accounts.take_empty()) for _ in range(EMPTY_DELETIONS)
    )
    until_idle(story.stage, "the deletions of empty accounts to be finished")
    watch = Watch.of(story.stage, [giant])
    milliseconds = browser.submit(measurement.PAGE, {}).milliseconds
    accounts.truth.gone.update([giant.pk])
    screen.say(
        f"The request took {milliseconds:,.1f} ms; requests for {EMPTY_DELETIONS} accounts"
        f" without content, just before, took {empty_milliseconds:,.1f} ms (median)."
        " Workers now delete the rows:"
    )
    watch.until_gone()
    receipt = receipts.receipts_of(MODEL, str(giant.pk))[0]
    seconds = show(receipt)
    story.figures["giant"] = {
        "request_milliseconds": round(milliseconds, 2),
        "empty_request_milliseconds": round(empty_milliseconds, 2),
        "seconds": seconds,
        "receipt": receipt,
    }
    removed = sum(sum(cascade["rows"].values()) for cascade in receipt["cascades"])
    claim = "the receipt counts every row of the account"
    story.prove(Proof(claim=claim, held=removed == data.GIANT.rows, figure=removed))


def delete_in_admin(story: Story, accounts: Accounts) -> None:
    """Step 2: delete many accounts with one admin action."""
    screen.heading(f"2. An admin deletes {ADMIN_ACTION_USERS} accounts in one action")
    # Every second account. Their comments on other accounts' posts go, but those posts stay.
    users = accounts.small[: 2 * ADMIN_ACTION_USERS : 2]
    browser = Browser(story.stage.web_address)
    browser.log_in("/admin/login/", name=ADMIN, password=story.stage.password)
    watch = Watch.of(story.stage, users)
    path, form = "/admin/auth/user/", _delete_selected(users)
    browser.get(path)
    confirmation = browser.submit(path, form, expect=200)
    watch.restart()
    milliseconds = browser.submit(path, form | {"post": "yes"}).milliseconds
    own, rows = sum(watch.before.values()), accounts.left
    accounts.truth.gone.update(user.pk for user in users)
    screen.say(
        f"The action took {milliseconds:,.0f} ms. Workers now delete {own:,} rows, and"
        f" {rows - accounts.left - own:,} comments of others on their posts:"
    )
    seconds = watch.until_gone()
    story.figures["admin_action"] = {
        "users": len(users),
        "rows": watch.before,
        "confirmation_milliseconds": round(confirmation.milliseconds),
        "request_milliseconds": round(milliseconds),
        "seconds": seconds,
    }


def survive_outage(story: Story, accounts: Accounts) -> None:
    """Step 3: a database refuses connections while accounts are deleted."""
    screen.heading("3. blog_db refuses connections")
    first = 2 * ADMIN_ACTION_USERS
    users = accounts.small[first : first + OUTAGE_USERS]
    keys = [user.pk for user in users]
    watch = Watch.of(story.stage, users)
    with refusing("blog_db", story.stage.servers.get("blog_db")):
        User.objects.filter(pk__in=keys).delete()
        accounts.truth.gone.update(keys)
        screen.say(f"{len(keys)} accounts are deleted meanwhile. shop_db is not affected:")
        blog, shop = _until_blog_waits(story.stage)
        screen.table(
            ("database", "state", "backlog", "reason"),
            (
                (row["database"], row["state"], row["backlog"], row["reason"])
                for row in (blog, shop)
            ),
        )
    watch.restart()
    screen.say("blog_db accepts connections again and catches up:")
    seconds = watch.until_gone()["blog_db"]
    screen.say(f"It took {seconds:,.1f} s.")
    story.figures["outage"] = {
        "users": len(keys),
        "blog_db": blog,
        "shop_db": shop,
        "catch_up_seconds": seconds,
    }
    held = shop["backlog"] == 0 and blog["backlog"] == len(keys) and bool(blog["reason"])
    claim = "deletions waited only for blog_db"
    story.prove(Proof(claim=claim, held=held, figure=blog["backlog"]))


def survive_kill(story: Story, accounts: Accounts) -> None:
    """Step 4: kill a worker with SIGKILL in the middle of a cascade."""
    screen.heading("4. A worker is killed in the middle of a cascade")
    stage, large = story.stage, accounts.large
    key, worker = large.pk, stage.children["worker-blog_db"]
    watch = Watch.of(stage, [large])
    total = watch.before["blog_db"]
    User.objects.get(pk=key).delete()
    accounts.truth.gone.update([key])
    stage.until(
        "the first rows to go",
        lambda: proof.remaining([key])["blog_db"] < total,
        blame=WORKERS,
        pause=0.01,
    )
    worker.kill()
    watch.restart()
    left = proof.remaining([key])["blog_db"]
    screen.say(
        f"SIGKILL, with {left:,} of {total:,} rows left in blog_db. The supervisor restarts"
        f" the worker; the killed worker's claim expires after {current().lease_seconds:g} s:"
    )
    worker.start()
    seconds = watch.until_gone()["blog_db"]
    screen.say(f"The cascade was finished {seconds:,.1f} s after the kill.")
    receipt = receipts.receipts_of(MODEL, str(key))[0]
    counted = sum(
        sum(each["rows"].values()) for each in receipt["cascades"] if each["database"] == "blog_db"
    )
    screen.say(f"Its receipt counts {counted:,} rows: those of the killed worker are among them.")
    story.figures["kill"] = {
        "rows": total,
        "rows_left": left,
        "seconds_until_finished": seconds,
        "receipt": receipt,
    }
    claim = "rows were left when the worker was killed"
    story.prove(Proof(claim=claim, held=0 < left < total, figure=left))
    claim = "its receipt counts every row"
    story.prove(Proof(claim=claim, held=counted == total, figure=counted))


def find_orphans(story: Story, accounts: Accounts) -> float:
    """Delete accounts without a record, scan for their rows; return the time of the scan."""
    screen.heading(
        f"{UNRECORDED_USERS} accounts are deleted with the triggers off: a scan finds their rows"
    )
    users = accounts.small[-UNRECORDED_USERS:]
    keys = [user.pk for user in users]
    rows = sum(proof.remaining(keys).values())
    healing.delete_unrecorded(keys)
    accounts.truth.gone.update(keys)
    relations = healing.run_integrity("scan", "--full")["relations"]
    scanned_at = time.monotonic()
    screen.table(
        ("relation", "database", "rows", "keys", "keys without parent", "orphaned rows"),
        (
            (
                row["relation"],
                row["database"],
                row["rows_scanned"],
                row["keys_scanned"],
                row["suspects"],
                row["orphans"],
            )
            for row in relations
        ),
    )
    effects = healing.run_integrity("repair")["effects"]
    screen.say(
        "A dry run of the repair, which starts after the grace period of"
        f" {current().grace_seconds:g} s:"
    )
    screen.table(
        ("relation", "policy", "rows"),
        ((row["relation"], row["policy"], row["rows"]) for row in effects),
    )
    orphans = sum(row["orphans"] for row in relations)
    story.figures["scan"] = {"relations": relations, "dry_run": effects}
    claim = "the scan found every row of the deleted accounts, and no other"
    story.prove(Proof(claim=claim, held=orphans == rows, figure=orphans))
    covered = all(row["complete"] for row in relations)
    left = sum(proof.remaining(keys).values())
    story.prove(Proof(claim="the scan covered every relation", held=covered, figure=len(relations)))
    story.prove(Proof(claim="the scan deleted nothing", held=left == rows, figure=left))
    return scanned_at


def heal(story: Story, scanned_at: float) -> None:
    """Step 7: repair. It checks the suspects again, and workers delete the confirmed ones."""
    screen.heading("7. The repair checks the suspects again and deletes the orphans")
    healing.wait_until_old(scanned_at, current().grace_seconds)
    result = healing.run_integrity("repair", "--apply")
    until_idle(story.stage, "the orphans to be deleted")
    again = healing.run_integrity("scan", "--full")["relations"]
    left = sum(row["orphans"] for row in again)
    story.figures["repair"] = {**result, "orphans_left": left}
    story.prove(Proof(claim="another scan finds no orphans", held=left == 0, figure=left))


def refuse_wrong_database(story: Story) -> None:
    """Step 8: if `default` is the wrong database, the scan refuses to run."""
    screen.heading("8. `default` points to the wrong database")
    with healing.wrong_parents() as environment:
        code, document = healing.scan_with(environment)
    reason = document["relations"][0]["reason"]
    screen.say(f"The scan ends with exit code {code}: {reason}")
    story.figures["wrong_parents"] = {"exit_code": code, "reason": reason}
    held = code == BRAKE_EXIT_CODE and not any(row["keys_scanned"] for row in document["relations"])
    story.prove(Proof(claim="the scan is refused", held=held, figure=code))


def check_receipts(story: Story, accounts: Accounts) -> None:
    """Step 9: export the receipts of all deletions, and compare them with the accounts' rows."""
    screen.heading("9. Every receipt is compared with what its account had")
    grace = current().grace_seconds
    screen.say(f"The last deletions are verified after the grace period of {grace:g} s:")

    def verified() -> bool:
        counts = healing.run_integrity("status")["deletions"]
        return not any(counts[state] for state in ("recorded", "dispatched", "cascaded"))

    what, seconds = "the deletions to be verified", grace + VERIFY_SECONDS
    story.stage.until(what, verified, blame=WORKERS, seconds=seconds, pause=0.5)
    lines = healing.exported(story.stage.directory)
    proofs = erasures.of_receipts(accounts.truth, lines)
    story.figures["receipts"] = {"exported": len(lines), "accounts": len(accounts.truth.gone)}
    screen.say(f"{len(lines):,} receipts of {len(accounts.truth.gone):,} deleted accounts.")
    story.prove(*proofs)


def conclude(story: Story, accounts: Accounts) -> None:
    """Compare all rows with the expected ones, and check Flower and the other processes."""
    screen.heading("Final checks")
    actual = proof.stored()
    story.prove(*proof.of_rows(accounts.truth, actual), proof.of_log())
    story.figures["flower_tasks"] = proof.tasks_seen(story.stage)
    story.prove(proof.of_tasks(story.figures["flower_tasks"]))
    story.prove(*proof.of_machines(story.stage))
    story.prove(*proof.of_passwords(story.stage))
    story.figures["orphans"] = sum(1 for _ in orphans(actual))


def _delete_selected(users: Sequence[User]) -> dict[str, str | Sequence[str]]:
    return {"action": "delete_selected", "_selected_action": [str(user.pk) for user in users]}


def _until_blog_waits(stage: Stage) -> tuple[DatabaseRow, DatabaseRow]:
    """Wait until shop_db is done and blog_db has a reason for waiting; return both rows."""

    def settled() -> bool:
        rows = proof.backlogs()
        return bool(rows["blog_db"]["reason"]) and not rows["shop_db"]["backlog"]

    stage.until("blog_db to wait and shop_db to be done", settled, blame=WORKERS)
    rows = proof.backlogs()
    return rows["blog_db"], rows["shop_db"]
