"""`./run demo --once`, from nothing to its proofs, on servers of its own."""

from __future__ import annotations

import ast
import json
import os

import pytest

from sandbox import environment, project

TIMEOUT_SECONDS = 420


@pytest.fixture(scope="module")
def demo():
    """The finished process; `document` is the last line of its standard output."""
    given = {*environment.VARIABLES.values(), environment.BROKER}
    env = {name: value for name, value in os.environ.items() if name not in given}
    arguments = ("--once", "--settings", "tests.impatient")
    done = project.run("-m", "demo", *arguments, env=env, seconds=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stderr[-8_000:]
    return done


@pytest.fixture(scope="module")
def document(demo):
    return json.loads(demo.stdout.splitlines()[-1])


def removed(receipt, database):
    (cascade,) = (item for item in receipt["cascades"] if item["database"] == database)
    return sum(cascade["rows"].values())


def test_every_proof_holds(document):
    assert document["ok"] is True
    assert len(document["proofs"]) > 10
    assert [proof for proof in document["proofs"] if not proof["held"]] == []
    assert document["orphans"] == 0


def test_no_traceback_and_no_warning_is_shown(demo):
    for word in ("Traceback", "Warning", "superuser"):
        assert word not in demo.stderr


def test_the_data_is_as_large_as_promised(document):
    assert document["load"]["users"] == 10_000
    assert document["load"]["rows"] == 200_000


def test_the_request_takes_no_longer_for_100_000_rows(document):
    assert document["request"]["pairs"] == 20
    assert document["request"]["ratio"] <= 2


def test_an_account_that_lives_again_keeps_its_rows(document):
    assert document["kept"] == {"deletions": 22, "rows_left": 100_000}


def test_the_receipt_of_the_giant_accounts_for_its_rows(document):
    receipt = document["giant"]["receipt"]
    assert removed(receipt, "blog_db") == 60_000
    assert removed(receipt, "shop_db") == 40_000
    assert set(document["giant"]["seconds"]) == {"blog_db", "shop_db"}


def test_every_receipt_is_compared_with_what_its_account_had(document):
    held = {proof["claim"]: proof for proof in document["proofs"]}
    accounts = document["receipts"]["accounts"]
    assert accounts > 600
    proven = held["every deleted account has a receipt that proves it"]
    exact = held["each of these receipts counts exactly the posts and orders of its account"]
    assert proven["figure"] == exact["figure"] == accounts
    assert held["together they count every row that was deleted, once"]["figure"] > 150_000


def test_the_admin_action_reaches_both_databases(document):
    assert document["admin_action"]["users"] == 500
    assert all(rows > 0 for rows in document["admin_action"]["rows"].values())
    assert set(document["admin_action"]["seconds"]) == {"blog_db", "shop_db"}


def test_only_the_database_that_is_away_waits_and_says_why(document):
    outage = document["outage"]
    assert outage["blog_db"]["backlog"] == 50
    assert "not currently accepting connections" in outage["blog_db"]["reason"]
    assert outage["blog_db"]["blocked"] == 0
    assert outage["shop_db"]["backlog"] == 0
    assert outage["shop_db"]["reason"] == ""
    assert outage["catch_up_seconds"] < 30


def test_the_killed_worker_left_rows_that_another_removed(document):
    assert 0 < document["kill"]["rows_left"] < document["kill"]["rows"]
    states = {one["database"]: one["state"] for one in document["kill"]["receipt"]["cascades"]}
    assert states.keys() == {"blog_db", "shop_db", "step:files"}
    assert {states["blog_db"], states["shop_db"]} <= {"done", "verified"}


def test_a_file_goes_with_its_post_and_no_other(document):
    assert document["files"] == {"erased": 20, "kept": 20}
    held = [proof["held"] for proof in document["proofs"] if " file of " in proof["claim"]]
    assert held == [True] * 4  # after the deletion, and after the replay


def test_what_a_restore_brought_back_is_noticed_and_erased_again(document):
    restore = document["restore"]
    assert restore["rows"] == 60
    assert restore["files"] == 20
    assert 0 < restore["noticed_seconds"] < 90
    (sentence,) = document["undone"]
    assert ", undone by a restore of blog_db that was noticed at " in sentence
    assert ", erased again at " in sentence


def test_flower_shows_the_tasks_with_aliases_only(document):
    tasks = document["flower_tasks"]
    assert {"integrity.dispatch", "integrity.cascade"} <= {task["name"] for task in tasks}
    for task in tasks:
        assert ast.literal_eval(task["kwargs"]) == {}
        assert set(ast.literal_eval(task["args"])) <= {
            "default",
            "blog_db",
            "shop_db",
            "step:files",
        }
    cascades = [task["args"] for task in tasks if task["name"] == "integrity.cascade"]
    assert {alias for args in cascades for alias in ast.literal_eval(args)} == {
        "blog_db",
        "shop_db",
        "step:files",
    }


@pytest.mark.parametrize("who", ["Flower", "the broker"])
def test_who_has_no_password_is_turned_away(document, who):
    held = {proof["claim"]: proof["held"] for proof in document["proofs"]}
    assert held[f"{who} requires a password"] is True
