"""The steps, in the order in which they are told. Each gives its figures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections

from apps.integrity import report
from apps.integrity.conf import current
from apps.integrity.control import actions
from sandbox import tables
from tests.chaos.truth import orphans

from . import data, healing, measurement, proof, screen
from .browser import Browser
from .failure import NotEmpty
from .outage import refusing
from .proof import Proof
from .stage import ADMIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .data import Accounts
    from .stage import Stage

#: Times as long as without rows: less is a busy machine; to touch the rows would take hundreds.
LIMIT = 2
BESIDE = 3
ADMIN_ACTION_USERS = 500
OUTAGE_USERS = 50
VANISHED_USERS = 50
BRAKE = 6
MODEL = "auth.User"
WORKERS = ("worker-integrity", "worker-blog_db", "worker-shop_db", "beat")


@dataclass
class Story:
    """What has been told so far: figures by step, and proofs."""

    stage: Stage
    figures: dict[str, Any] = field(default_factory=dict)
    proofs: list[Proof] = field(default_factory=list)

    def prove(self, *proofs: Proof) -> None:
        """Keep proofs and show them."""
        for each in proofs:
            figure = "" if each.figure is None else f": {each.figure:,}"
            screen.verdict(each.claim + figure, held=each.held)
            self.proofs.append(each)

    def show_addresses(self) -> None:
        """Tell where to look, and how to get in."""
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
    """Tell all of it."""
    accounts = prepare(story)
    measure_request(story, accounts)
    start_the_rest(story, accounts)
    looked = find_orphans(story, accounts)
    delete_giant(story, accounts)
    delete_in_admin(story, accounts)
    survive_outage(story, accounts)
    survive_kill(story, accounts)
    heal(story, looked)
    refuse_strangers(story)
    conclude(story, accounts)


def prepare(story: Story) -> Accounts:
    """Migrate the databases and load the data."""
    screen.heading("Setting up")
    started = time.monotonic()
    with screen.bars("migrated", dict.fromkeys(connections, 1)) as told:
        for alias in connections:
            call_command("migrate", database=alias, verbosity=0, interactive=False)
            told(alias, 1)
    tables.grant()
    if User.objects.exists():
        raise NotEmpty("the databases named by DATABASE_URL… are in use: give the demo empty ones")
    accounts = data.create_accounts()
    User.objects.create_superuser(ADMIN, password=story.stage.password)
    with screen.bars("rows", data.totals(accounts)) as told:
        data.load(accounts, told)
    seconds = round(time.monotonic() - started, 1)
    story.figures["load"] = {"users": data.USERS, "rows": accounts.left, "seconds": seconds}
    screen.say(
        f"{data.USERS:,} accounts in default, {accounts.left:,} rows in blog_db and shop_db;"
        f" one account has {data.GIANT.rows:,} of them."
    )
    return accounts


def measure_request(story: Story, accounts: Accounts) -> None:
    """Time the request before any worker runs."""
    screen.heading("How long does the request take?")
    story.stage.start_web()
    address = story.stage.web_address
    total = measurement.WARM_UP + measurement.PAIRS
    with screen.bars("pairs of requests", {"web": total}) as told:
        figures = measurement.measure(address, accounts, lambda number: told("web", number))
    story.figures["request"] = figures | {"limit": LIMIT}
    screen.say(
        f"Deleting the account with {data.GIANT.rows:,} rows takes"
        f" {figures['giant_milliseconds']:,.1f} ms, an account with none"
        f" {figures['empty_milliseconds']:,.1f} ms (median of {figures['pairs']})."
    )
    claim = f"the request takes at most {LIMIT} times that of an empty account"
    story.prove(Proof(claim=claim, held=figures["ratio"] <= LIMIT, figure=figures["ratio"]))


def start_the_rest(story: Story, accounts: Accounts) -> None:
    """Start the workers, beat and Flower; the measured deletions of the giant are kept."""
    stage, giant = story.stage, accounts.giant
    screen.heading("Starting the workers, beat and Flower")
    stage.start_workers()
    stage.start_flower()
    story.show_addresses()
    _until_idle(stage, "the measured deletions to be settled")
    states = [each["deletion"]["state"] for each in report.receipts(MODEL, str(giant.pk))]
    left = sum(proof.remaining([giant.pk]).values())
    story.figures["kept"] = {"deletions": states.count("kept"), "rows_left": left}
    actions.acknowledge(None, actor="demo", reason="the account lives again", using="default")
    screen.say(
        f"The big account is back under its old key, so its {len(states)} measured deletions are"
        " kept: they touch no row."
    )
    held = set(states) == {"kept"} and left == data.GIANT.rows
    story.prove(
        Proof(claim="no row of the account that lives again is gone", held=held, figure=left)
    )


def delete_giant(story: Story, accounts: Accounts) -> None:
    """Step 1: one click on "delete my account"."""
    screen.heading(f"1. An account with {data.GIANT.rows:,} rows deletes itself")
    giant, address = accounts.giant, story.stage.web_address
    giant.set_password(story.stage.password)
    giant.save()
    browser = Browser(address)
    browser.log_in("/login/", name=giant.username, password=story.stage.password)
    browser.get(measurement.PAGE)
    beside = median(measurement.delete(address, accounts.take_empty()) for _ in range(BESIDE))
    _until_idle(story.stage, "the deletions of empty accounts to be settled")
    watch = _Watch.of(story.stage, [giant])
    milliseconds = browser.submit(measurement.PAGE, {}).milliseconds
    accounts.truth.gone.update([giant.pk])
    screen.say(
        f"Its request took {milliseconds:,.1f} ms; those of {BESIDE} accounts without content,"
        f" just before, {beside:,.1f} ms (median). Now the rows follow:"
    )
    watch.until_gone()
    receipt = report.receipts(MODEL, str(giant.pk))[0]
    seconds = _show(receipt)
    story.figures["giant"] = {
        "request_milliseconds": round(milliseconds, 2),
        "empty_request_milliseconds": round(beside, 2),
        "seconds": seconds,
        "receipt": receipt,
    }
    removed = sum(sum(each["rows"].values()) for each in receipt["cascades"])
    claim = "the receipt accounts for every row of the account"
    story.prove(Proof(claim=claim, held=removed == data.GIANT.rows, figure=removed))


def delete_in_admin(story: Story, accounts: Accounts) -> None:
    """Step 2: one action of the admin deletes many."""
    screen.heading(f"2. An admin deletes {ADMIN_ACTION_USERS} accounts in one action")
    # Every other one, so that their comments under posts of the living go, and the posts stay.
    users = accounts.small[: 2 * ADMIN_ACTION_USERS : 2]
    browser = Browser(story.stage.web_address)
    browser.log_in("/admin/login/", name=ADMIN, password=story.stage.password)
    watch = _Watch.of(story.stage, users)
    path, form = "/admin/auth/user/", _delete_selected(users)
    browser.get(path)
    confirmation = browser.submit(path, form, expect=200)
    watch.restart()
    milliseconds = browser.submit(path, form | {"post": "yes"}).milliseconds
    own, rows = sum(watch.before.values()), accounts.left
    accounts.truth.gone.update(user.pk for user in users)
    screen.say(
        f"The action took {milliseconds:,.0f} ms. Now {own:,} rows follow, and"
        f" {rows - accounts.left - own:,} comments of others under their posts:"
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
    """Step 3: one database refuses connections while accounts are deleted."""
    screen.heading("3. blog_db refuses connections")
    first = 2 * ADMIN_ACTION_USERS
    users = accounts.small[first : first + OUTAGE_USERS]
    keys = [user.pk for user in users]
    watch = _Watch.of(story.stage, users)
    with refusing("blog_db", story.stage.superusers.get("blog_db")):
        User.objects.filter(pk__in=keys).delete()
        accounts.truth.gone.update(keys)
        screen.say(f"{len(keys)} accounts are deleted meanwhile. shop_db does not mind:")
        blog, shop = _until_blog_waits(story.stage)
        screen.table(
            ("database", "state", "behind", "reason"),
            (
                (row["database"], row["state"], row["backlog"], row["reason"])
                for row in (blog, shop)
            ),
        )
    watch.restart()
    screen.say("blog_db is back and catches up:")
    seconds = watch.until_gone()["blog_db"]
    screen.say(f"It took {seconds:,.1f} s.")
    story.figures["outage"] = {
        "users": len(keys),
        "blog_db": blog,
        "shop_db": shop,
        "catch_up_seconds": seconds,
    }
    held = shop["backlog"] == 0 and blog["backlog"] == len(keys) and bool(blog["reason"])
    claim = "deletions that waited for blog_db alone"
    story.prove(Proof(claim=claim, held=held, figure=blog["backlog"]))


def survive_kill(story: Story, accounts: Accounts) -> None:
    """Step 4: a worker dies by SIGKILL in the middle of a cascade."""
    screen.heading("4. A worker is killed in the middle of a cascade")
    stage, large = story.stage, accounts.large
    key, worker = large.pk, stage.children["worker-blog_db"]
    watch = _Watch.of(stage, [large])
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
        f"SIGKILL, with {left:,} of {total:,} rows left in blog_db. The supervisor starts the"
        f" worker again; the claim of the dead one lapses after {current().lease_seconds:g} s:"
    )
    worker.start()
    seconds = watch.until_gone()["blog_db"]
    screen.say(f"The work was finished {seconds:,.1f} s after the kill.")
    story.figures["kill"] = {
        "rows": total,
        "rows_left": left,
        "seconds_until_finished": seconds,
        "receipt": report.receipts(MODEL, str(key))[0],
    }
    claim = "rows were left when the worker was killed"
    story.prove(Proof(claim=claim, held=0 < left < total, figure=left))


def find_orphans(story: Story, accounts: Accounts) -> float:
    """Accounts go by raw SQL, and a scan finds what they left; gives the time of its look."""
    screen.heading(f"{VANISHED_USERS} accounts vanish by raw SQL: a scan finds their rows")
    users = accounts.small[-VANISHED_USERS:]
    keys = [user.pk for user in users]
    rows = sum(proof.remaining(keys).values())
    healing.vanish(keys)
    accounts.truth.gone.update(keys)
    found = healing.ask("scan", "--full")["relations"]
    looked = time.monotonic()
    screen.table(
        ("relation", "database", "rows seen", "keys seen", "keys without parent", "rows of them"),
        (
            (
                each["relation"],
                each["database"],
                each["rows_scanned"],
                each["keys_scanned"],
                each["suspects"],
                each["orphans"],
            )
            for each in found
        ),
    )
    effects = healing.ask("repair")["effects"]
    screen.say("A dry run of the repair, which waits for a second look in a minute:")
    screen.table(
        ("relation", "policy", "rows"),
        ((each["relation"], each["policy"], each["rows"]) for each in effects),
    )
    orphans = sum(each["orphans"] for each in found)
    story.figures["scan"] = {"relations": found, "dry_run": effects}
    claim = "the scan counted every row of the vanished accounts, and no other"
    story.prove(Proof(claim=claim, held=orphans == rows, figure=orphans))
    covered = all(each["complete"] for each in found)
    left = sum(proof.remaining(keys).values())
    story.prove(Proof(claim="it covered every relation", held=covered, figure=len(found)))
    story.prove(Proof(claim="and it removed nothing", held=left == rows, figure=left))
    return looked


def heal(story: Story, looked: float) -> None:
    """Step 5: the second look confirms what the scan suspected, and the rows go."""
    screen.heading("5. The second look, and the repair")
    healing.wait_for_second_look(looked, current().grace_seconds)
    result = healing.ask("repair", "--apply")
    _until_idle(story.stage, "the orphans to be gone")
    again = healing.ask("scan", "--full")["relations"]
    left = sum(each["orphans"] for each in again)
    story.figures["repair"] = {**result, "orphans_left": left}
    story.prove(Proof(claim="a scan finds no orphan any more", held=left == 0, figure=left))


def refuse_strangers(story: Story) -> None:
    """Step 6: with `default` pointing to another database, nothing is scanned or touched."""
    screen.heading("6. Somebody points `default` to another database")
    with healing.wrong_parents() as environment:
        code, document = healing.scan_with(environment)
    reason = document["relations"][0]["reason"]
    screen.say(f"The scan ends with exit code {code}: {reason}")
    story.figures["wrong_parents"] = {"exit_code": code, "reason": reason}
    held = code == BRAKE and not any(each["keys_scanned"] for each in document["relations"])
    story.prove(Proof(claim="it is refused", held=held, figure=code))


def conclude(story: Story, accounts: Accounts) -> None:
    """Count everything, and ask Flower what it saw."""
    screen.heading("What is left")
    actual = proof.stored()
    story.prove(*proof.of_rows(accounts.truth, actual), proof.of_log())
    story.figures["flower_tasks"] = proof.tasks_seen(story.stage)
    story.prove(proof.of_tasks(story.figures["flower_tasks"]))
    story.prove(*proof.of_machines(story.stage))
    story.prove(*proof.of_passwords(story.stage))
    story.figures["orphans"] = sum(1 for _ in orphans(actual))


@dataclass(kw_only=True)
class _Watch:
    """Follows the rows of deleted accounts; `before` is what each database had of them."""

    stage: Stage
    keys: Sequence[int]
    before: dict[str, int]
    started: float

    @classmethod
    def of(cls, stage: Stage, users: Sequence[User]) -> _Watch:
        """Count the rows of accounts that are about to be deleted."""
        keys = [user.pk for user in users]
        before = proof.remaining(keys)
        return cls(stage=stage, keys=keys, before=before, started=time.monotonic())

    def restart(self) -> None:
        """Count the seconds from now on."""
        self.started = time.monotonic()

    def until_gone(self) -> dict[str, float]:
        """Show a bar for each database until it is done; gives the seconds that it took."""
        done: dict[str, float] = {}
        with screen.bars("rows", self.before) as told:

            def settled() -> bool:
                left, rows = proof.remaining(self.keys), proof.backlogs()
                for alias, total in self.before.items():
                    told(alias, total - left[alias])
                    if not left[alias] and not rows[alias]["backlog"]:
                        done.setdefault(alias, round(time.monotonic() - self.started, 2))
                return len(done) == len(self.before)

            self.stage.until("the rows to be gone", settled, blame=WORKERS)
        return done


def _delete_selected(users: Sequence[User]) -> dict[str, str | Sequence[str]]:
    return {"action": "delete_selected", "_selected_action": [str(user.pk) for user in users]}


def _until_idle(stage: Stage, what: str) -> None:
    def idle() -> bool:
        return not any(row["backlog"] for row in proof.backlogs().values())

    stage.until(what, idle, blame=WORKERS)


def _until_blog_waits(stage: Stage) -> tuple[report.DatabaseRow, report.DatabaseRow]:
    """Wait until shop_db is done and blog_db is known to be away; gives both rows."""

    def settled() -> bool:
        rows = proof.backlogs()
        return bool(rows["blog_db"]["reason"]) and not rows["shop_db"]["backlog"]

    stage.until("blog_db to wait and shop_db to be done", settled, blame=WORKERS)
    rows = proof.backlogs()
    return rows["blog_db"], rows["shop_db"]


def _show(receipt: report.Receipt) -> dict[str, float]:
    """Show a receipt; gives the seconds that each database took."""
    recorded = datetime.fromisoformat(receipt["deletion"]["recorded_at"])
    seconds = {
        each["database"]: (datetime.fromisoformat(each["done_at"]) - recorded).total_seconds()
        for each in receipt["cascades"]
    }
    screen.say(f"The receipt of {MODEL} {receipt['deletion']['key']}:")
    screen.table(
        ("database", "relation", "rows", "done after (s)"),
        (
            (each["database"], relation, number, seconds[each["database"]])
            for each in receipt["cascades"]
            for relation, number in each["rows"].items()
        ),
    )
    return seconds
