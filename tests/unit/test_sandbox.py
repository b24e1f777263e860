"""What the sandbox decides without a server: processes, leftovers, programs, variables."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandbox import binaries, environment, processes, roles, runs
from sandbox.processes import Process, ProcessError, Record

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sleeper(tmp_path):
    process = Process(SLEEP, log=tmp_path / "sleeper.log").start()
    assert processes.eventually(lambda: process.tail() == "up", timeout=10)
    yield process
    process.kill()


def python(tmp_path, code, **options):
    return Process([sys.executable, "-c", code], log=tmp_path / "child.log", **options)


def test_process_that_dies_early_shows_the_tail_of_its_log(tmp_path):
    process = python(tmp_path, "print('first'); raise SystemExit('no such table')").start()
    with pytest.raises(ProcessError, match=r"child ended with exit code 1\n(.*\n)*no such table"):
        process.finish()


def test_waiting_for_a_dead_process_ends_at_once(tmp_path):
    class Never(Process):
        def ready(self):
            return False

    process = Never([sys.executable, "-c", "raise SystemExit(3)"], log=tmp_path / "never.log")
    with pytest.raises(ProcessError, match="exit code 3"):
        process.start().wait_until_ready(timeout=60)


def test_program_that_does_not_exist_is_named(tmp_path):
    process = Process(["no-such-program"], log=tmp_path / "absent.log").start()
    with pytest.raises(ProcessError, match="cannot start no-such-program"):
        process.finish()


def test_stop_is_graceful_and_process_can_start_again(sleeper):
    sleeper.stop()
    assert sleeper.poll() == -signal.SIGTERM
    first = sleeper.pid
    assert sleeper.start().wait_until_ready().pid != first


def test_stop_forces_a_process_that_does_not_listen(tmp_path):
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True);"
        "time.sleep(60)"
    )
    process = python(tmp_path, code).start()
    assert processes.eventually(lambda: process.tail() == "up", timeout=10)
    process.stop(timeout=0.2)
    assert process.poll() == -signal.SIGKILL


def test_frozen_process_hears_a_stop(sleeper):
    sleeper.freeze()
    status = processes.PROC.joinpath(str(sleeper.pid), "status")
    assert processes.eventually(lambda: "T (stopped)" in status.read_text(), timeout=10)
    sleeper.stop(timeout=5)
    assert sleeper.poll() == -signal.SIGTERM


def test_kill_takes_the_grandchildren_along(tmp_path):
    code = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    process = python(tmp_path, code).start()
    assert processes.eventually(lambda: process.tail().isdigit(), timeout=10)
    grandchild = Record.of(int(process.tail()))
    assert grandchild.alive
    process.kill()
    assert processes.eventually(lambda: not grandchild.alive, timeout=5)


def test_start_outside_of_the_main_thread_is_refused(tmp_path):
    failures = []

    def start():
        try:
            python(tmp_path, "pass").start()
        except RuntimeError as error:
            failures.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert failures == ["child must be started from the main thread"]


def test_record_knows_its_process_from_a_later_one_with_the_same_pid(tmp_path):
    record = Record.of(os.getpid())
    record.write(tmp_path / "record")
    assert Record.read(tmp_path / "record") == record
    assert record.alive
    assert not Record(pid=os.getpid(), started="1", stop_signal=15).alive
    assert Record.read(tmp_path / "nothing") is None


def test_free_port_is_below_the_ports_of_clients():
    assert processes.free_port() in processes.PORTS


def test_leftover_of_a_killed_run_is_ended_and_removed(tmp_path, sleeper):
    run = tmp_path / "run-dead"
    run.mkdir()
    Record(pid=1, started="long ago", stop_signal=15).write(run / runs.OWNER)
    Record.of(sleeper.pid).write(run / "sleeper.log.pid")
    with runs.directory(tmp_path) as mine:
        assert mine.is_dir()
        assert not run.exists()
        assert not sleeper.running
    assert not mine.exists()


def test_runs_side_by_side_and_kept_ones_are_left_alone(tmp_path):
    with runs.directory(tmp_path, keep=True) as kept:
        pass
    with runs.directory(tmp_path) as first, runs.directory(tmp_path) as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()
    assert [path.name for path in tmp_path.glob("run-*")] == [kept.name]


@pytest.mark.parametrize("find", [binaries.postgresql, binaries.redis])
def test_missing_program_names_the_packages(monkeypatch, find):
    monkeypatch.setenv("SANDBOX_BINARIES", "none of them")
    with pytest.raises(binaries.MissingProgramError, match=r"pip install .*apt-get install .*URL"):
        find()


def test_broken_program_is_passed_over(monkeypatch, tmp_path):
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\nexit 1\n")
    sound = tmp_path / "redis-server"
    sound.write_text("#!/bin/sh\necho 'Redis server v=7.0.15 sha=0'\n")
    for path in (broken, sound):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SANDBOX_BINARIES", "system")
    assert binaries.redis() == binaries.Program(path=sound, major=7)


def test_urls_count_only_when_all_of_a_group_are_set(monkeypatch):
    names = list(environment.VARIABLES.values())
    assert names == ["DATABASE_URL", "DATABASE_URL_BLOG_DB", "DATABASE_URL_SHOP_DB"]
    for name in names:
        monkeypatch.setenv(name, f"postgresql://{name}")
    assert environment.given(*names) == {name: f"postgresql://{name}" for name in names}
    monkeypatch.setenv(names[1], "")
    assert environment.given(*names) == {}


def test_placeholders_let_settings_load_without_servers(monkeypatch):
    monkeypatch.delenv("BROKER_URL", raising=False)
    assert environment.placeholders()["BROKER_URL"] == "redis://127.0.0.1:1/0"


@pytest.mark.parametrize("command", ["storm-in-a-teacup", "lint now"])
def test_run_refuses_what_it_does_not_know_in_one_line(command):
    done = subprocess.run(
        [sys.executable, ROOT / "run", *command.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("run: ")
    assert "Traceback" not in done.stderr


def test_run_lists_every_command_once():
    done = subprocess.run([ROOT / "run"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()[2:]
    names = [line.split()[0] for line in lines if not line.startswith("   ")]
    wanted = "demo test acceptance lint bench storm restores faults pages screenshots mutants"
    wanted += " differential docs package up down clean lock"
    wanted += " test-all test-matrix test-apps test-engines audit"
    assert names == wanted.split()
    listed = re.findall(r"^\./run ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert {*names} == {*listed}


class TestRoles:
    """Each process knows the URLs of its own role, and no other."""

    def test_a_process_gets_its_own_urls(self) -> None:
        values = {
            f"{prefix}{name}": f"{prefix}{name}"
            for prefix in ("", environment.WEB, environment.WORKER, "SUPERUSER_")
            for name in environment.VARIABLES.values()
        }
        for role in (environment.WEB, environment.WORKER):
            found = environment.as_role(role, {**values, "PATH": "/bin"})
            assert found == {
                "PATH": "/bin",
                **{name: f"{role}{name}" for name in environment.VARIABLES.values()},
            }

    def test_without_roles_everybody_has_the_same(self) -> None:
        values = dict.fromkeys(environment.VARIABLES.values(), "url")
        assert environment.as_role(environment.WEB, values) == values
        assert environment.as_role(environment.WORKER, {"A": "b"}) == {"A": "b"}

    def test_each_has_a_password_of_its_own(self) -> None:
        passwords = roles.Passwords()
        assert len({passwords.superuser, *passwords.roles.values()}) == 1 + len(roles.PREFIXES)
        assert passwords.of("integrity_web") != passwords.of("integrity") == passwords.superuser
        line = " ".join(map(str, roles.script("main")))
        assert not any(each in line for each in (passwords.superuser, *passwords.roles.values()))
