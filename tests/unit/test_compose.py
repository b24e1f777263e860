"""docker-compose.yml, Dockerfile and .env.example fit each other and the project."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from apps.integrity.queues import health
from deploy import make_env

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
REQUIRED = {
    "SECRET_KEY",
    "DATABASE_URL",
    "DATABASE_URL_BLOG_DB",
    "DATABASE_URL_SHOP_DB",
    "BROKER_URL",
}
#: What each service may know. Nothing else in its environment is a secret.
POSTGRES_ROLES = ("SUPERUSER", "OWNER", "WEB", "WORKER")
SERVERS = ("DEFAULT", "BLOG", "SHOP")


def passwords(role: str) -> set[str]:
    """Of that role, on each server."""
    return {f"POSTGRES_{server}_{role}_PASSWORD" for server in SERVERS}


OF_A_WORKER = passwords("WORKER") | {"REDIS_WORKER_PASSWORD"}
KNOWN = {
    "web": passwords("WEB") | {"REDIS_WEB_PASSWORD", "SECRET_KEY"},
    "worker-integrity": OF_A_WORKER,
    "worker-blog-db": OF_A_WORKER,
    "worker-shop-db": OF_A_WORKER,
    "beat": passwords("WORKER") | {"REDIS_BEAT_PASSWORD"},
    "flower": {"REDIS_FLOWER_PASSWORD", "FLOWER_BASIC_AUTH"},
    "migrate": passwords("OWNER"),
    "redis": {f"REDIS_{user}_PASSWORD" for user in ("WEB", "BEAT", "WORKER", "FLOWER", "HEALTH")},
    **{
        f"postgres-{server.lower()}": {
            f"POSTGRES_{server}_{role}_PASSWORD" for role in POSTGRES_ROLES
        }
        for server in SERVERS
    },
}
#: What each service has to reach.
NETWORKS = {
    "web": {"databases", "broker", "site"},
    "flower": {"broker", "watch"},
    "redis": {"broker"},
    "migrate": {"databases"},
    "beat": {"databases", "broker"},
    **{name: {"databases"} for name in SERVICES if name.startswith("postgres-")},
    **{name: {"databases", "broker"} for name in SERVICES if name.startswith("worker-")},
}
OURS = {name for name, service in SERVICES.items() if "build" in service}
WORKERS = {name for name in SERVICES if name.startswith("worker-")}
SECRET = re.compile(r"SECRET|PASSWORD|AUTH|_URL$")
NO_KEY = "only-the-web-process-signs-anything-and-has-the-real-key"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_knows_the_secrets_that_it_needs_and_no_other(name: str) -> None:
    variables = set(re.findall(r"(?<!\$)\$\{(\w+)", str(SERVICES[name])))
    assert {each for each in variables if SECRET.search(each)} - {"FLOWER_URL"} == KNOWN[name]


def test_flower_has_neither_a_database_nor_the_settings_of_the_project() -> None:
    own = {name for name in SERVICES["flower"]["environment"] if not name.startswith("FLOWER_")}
    assert own == {"BROKER_URL"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_can_change_and_reach_as_little_as_possible(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "docker.sock" not in str(service)
    assert "/tmp" in service["tmpfs"]  # noqa: S108 (inside the container)
    assert service["mem_limit"]
    assert service["cpus"]
    assert 0 < service["pids_limit"] <= 256
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert set(service["networks"]) == NETWORKS[name]
    for volume in service.get("volumes", ()):
        assert volume.partition(":")[0] in COMPOSE["volumes"] or volume.endswith(":ro")


def test_networks_are_closed_but_for_what_is_published() -> None:
    networks = {
        name: bool((each or {}).get("internal")) for name, each in COMPOSE["networks"].items()
    }
    assert networks == {"databases": True, "broker": True, "site": False, "watch": False}
    for name, service in SERVICES.items():
        opened = {each for each in service["networks"] if not networks[each]}
        assert bool(opened) == ("ports" in service), name


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nobody_is_root(name: str) -> None:
    user = SERVICES[name].get("user") or ("10001" if name in OURS else "root")
    assert user.partition(":")[0] in {"10001", "999", "redis"}


def test_images_are_of_one_full_version() -> None:
    images = {SERVICES[name]["image"] for name in set(SERVICES) - OURS}
    base = re.search(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    full = {"postgres": r"\d+\.\d+", "redis": r"\d+\.\d+\.\d+", "python": r"\d+\.\d+\.\d+-slim"}
    for image in {*images, base[1]}:
        name, _, tag = image.partition(":")
        assert re.fullmatch(full.pop(name) + "-bookworm", tag), image
    assert full == {}


def test_the_roles_are_made_by_the_script_when_a_server_is_initialised() -> None:
    script = (ROOT / "deploy" / "postgresql" / "roles.sql").read_text()
    wanted = set(re.findall(r"^\\getenv \w+ (\w+)$", script, re.MULTILINE))
    for server in SERVERS:
        service = SERVICES[f"postgres-{server.lower()}"]
        assert wanted <= service["environment"].keys()
        place = "/docker-entrypoint-initdb.d/roles.sql:ro"
        assert f"./deploy/postgresql/roles.sql:{place}" in service["volumes"]
    assert "POSTGRES_USER" not in TEXT  # the superuser is none of the roles
    assert command("migrate")[-1].rstrip().endswith("python manage.py grant_roles")
    roles = {"web": "web", "beat": "worker", "migrate": "owner", **dict.fromkeys(WORKERS, "worker")}
    for name, role in roles.items():
        for variable in REQUIRED - {"SECRET_KEY", "BROKER_URL"}:
            url = SERVICES[name]["environment"][variable]
            assert url.startswith(f"postgres://integrity_{role}:"), (name, variable)


def test_each_process_logs_in_to_redis_as_its_own_user() -> None:
    users = {"web": "web", "beat": "beat", "flower": "flower", **dict.fromkeys(WORKERS, "worker")}
    for name, user in users.items():
        url = SERVICES[name]["environment"]["BROKER_URL"]
        assert url.startswith(f"redis://{user}:${{REDIS_{user.upper()}_PASSWORD:?"), name


def command(name: str) -> list[str]:
    words = SERVICES[name]["command"]
    assert isinstance(words, list)
    return words


def option(name: str, flag: str) -> str:
    words = command(name)
    return words[words.index(flag) + 1]


def test_the_services_are_those_of_the_system() -> None:
    databases = {"postgres-default", "postgres-blog", "postgres-shop"}
    assert set(SERVICES) == set(KNOWN) == set(NETWORKS)
    assert set(SERVICES) == databases | WORKERS | {"redis", "migrate", "web", "beat", "flower"}
    assert WORKERS | {"migrate", "web", "beat", "flower"} == OURS


def test_there_is_one_worker_per_queue() -> None:
    consumed = [option(name, "-Q") for name in WORKERS]
    assert sorted(consumed) == sorted(settings.CELERY_TASK_QUEUES)


def test_there_is_exactly_one_beat() -> None:
    beats = [name for name in OURS if "beat" in SERVICES[name].get("command", [])]
    assert beats == ["beat"]
    assert "deploy" not in SERVICES["beat"]
    assert not any("-B" in command(name) or "--beat" in command(name) for name in WORKERS)


def test_ports_are_published_on_loopback_only() -> None:
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert set(published) == {"web", "flower"}
    for ports in published.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port) for port in ports)
    assert not any(service.get("network_mode") == "host" for service in SERVICES.values())


@pytest.mark.parametrize("name", sorted(OURS - {"flower"}))
def test_our_services_get_every_required_setting(name: str) -> None:
    assert SERVICES[name]["environment"].keys() >= REQUIRED


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_secrets_come_from_outside_and_stop_the_start_when_missing(name: str) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        if not SECRET.search(variable) or variable == "FLOWER_URL":
            continue
        if value in {NO_KEY, "redis://redis:6379/0"}:  # of who signs or sends nothing
            assert name not in {"web", "flower"}
            continue
        assert re.search(r"\$\{\w+:\?[^}]+\}", value), f"{variable} holds a literal"
        assert not re.search(r"://[^:/]+:[^$@]+@", value), f"{variable} holds a literal password"


def test_no_secret_has_a_fallback() -> None:
    variables = dict(re.findall(r"\$\{(\w+)(:[?-])", TEXT))
    optional = {name for name, kind in variables.items() if kind == ":-"}
    assert {name for name in optional if SECRET.search(name)} == {"FLOWER_URL"}


def test_the_example_covers_every_variable_and_holds_no_secret() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    assert used == set(EXAMPLE)
    secrets = {name: value for name, value in EXAMPLE.items() if SECRET.search(name)}
    assert secrets.pop("FLOWER_URL")
    assert set(secrets.values()) == {""}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_the_probe_of_a_worker_looks_for_that_worker() -> None:
    for name in WORKERS:
        node = option(name, "-n").removesuffix("@%h")
        assert SERVICES[name]["healthcheck"]["test"][-1] == node
        assert option(name, "-Q") in {"integrity", f"integrity.{node}"}
    assert SERVICES["beat"]["healthcheck"]["test"][-1] == "beat"
    for name in (*WORKERS, "beat"):
        assert SERVICES[name]["healthcheck"]["test"][:4] == ["CMD", "python", "-m", health.__name__]


def test_commands_name_what_exists() -> None:
    for name in (*WORKERS, "beat", "flower"):
        app = "workers.flower" if name == "flower" else "workers"
        assert command(name)[:3] == ["celery", "-A", app]
        assert command(name)[3] == name.partition("-")[0]
    assert command("web")[:2] == ["gunicorn", "config.wsgi"]
    assert importlib.util.find_spec("workers.celery")
    assert importlib.util.find_spec("config.wsgi")
    assert (ROOT / "manage.py").is_file()
    for program in ("celery", "gunicorn", "flower"):
        assert importlib.util.find_spec(program)


def test_migrate_runs_once_on_every_database_before_the_others() -> None:
    script = command("migrate")[-1]
    aliases = re.search(r"for alias in ([\w ]+);", script)
    assert aliases is not None
    assert set(aliases[1].split()) == {
        alias for alias in settings.DATABASES if not alias.startswith("test_")
    }
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["migrate"]["environment"]["STATEMENT_TIMEOUT_SECONDS"] == "0"
    for name in OURS - {"migrate", "flower"}:  # which waits for the workers
        waits = SERVICES[name]["depends_on"]
        assert waits["migrate"] == {"condition": "service_completed_successfully"}
        assert waits["redis"] == {"condition": "service_healthy"}


def test_the_three_databases_are_three_servers() -> None:
    urls = [
        SERVICES["web"]["environment"][name]
        for name in ("DATABASE_URL", "DATABASE_URL_BLOG_DB", "DATABASE_URL_SHOP_DB")
    ]
    hosts = [re.sub(r".*@([\w-]+):5432/.*", r"\1", url) for url in urls]
    assert hosts == ["postgres-default", "postgres-blog", "postgres-shop"]
    volumes = [SERVICES[host]["volumes"][0].partition(":")[0] for host in hosts]
    assert len(set(volumes)) == 3
    assert {*volumes, "redis"} == set(COMPOSE["volumes"])
    assert set(SERVICES["migrate"]["depends_on"]) == set(hosts)


def test_workers_hand_their_task_back_when_they_are_stopped() -> None:
    for name in WORKERS:
        assert SERVICES[name]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace > settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT


def test_redis_forgets_nothing_and_lets_nobody_in() -> None:
    folder = ROOT / "deploy" / "redis"
    lines = (folder / "redis.conf").read_text().splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(lines)
    assert "./deploy/redis:/deploy:ro" in SERVICES["redis"]["volumes"]
    users = (folder / "users.acl").read_text()
    assert re.search("^user default reset$", users, re.MULTILINE)
    assert not re.search(r"nopass|\+@|allcommands|allkeys|allchannels|~\* ", users)
    assert sorted(re.findall(r"^user (\w+) reset on HASH", users, re.MULTILINE)) == sorted(
        ["web", "beat", "worker", "flower", "health"]
    )


def test_flower_asks_for_a_password_and_changes_nothing() -> None:
    environment = SERVICES["flower"]["environment"]
    assert environment["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")
    assert environment["FLOWER_READ_ONLY"] == "true"
    assert "FLOWER_UNAUTHENTICATED_API" not in TEXT
    assert not {"args", "kwargs", "result"} & set(environment["FLOWER_TASKS_COLUMNS"].split(","))


def test_flower_starts_after_the_workers_it_shows() -> None:
    assert SERVICES["flower"]["depends_on"].keys() >= WORKERS


def test_the_image_runs_as_a_user_and_holds_what_the_commands_need() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    words = [line.split() for line in lines if line]
    users = [line[1] for line in words if line[0] == "USER"]
    assert users
    assert users[-1] not in {"root", "0"}
    assert any("--require-hashes" in line for line in words)
    copied = {line[1] for line in words if line[0] == "COPY"}
    assert copied == {"requirements.txt", "manage.py", "config", "workers", "apps"}
    assert all((ROOT / path).exists() for path in copied)
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert allowed == copied


def _compose() -> list[str] | None:
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) is None:
            continue
        if subprocess.run([*words, "version"], capture_output=True, check=False).returncode == 0:
            return words
    return None


def _configured(folder: Path, **values: str) -> subprocess.CompletedProcess[str]:
    words = _compose()
    if words is None:
        pytest.skip("docker compose is not on this machine")
    file = folder / "environment"
    file.write_text("".join(f"{name}={value}\n" for name, value in (EXAMPLE | values).items()))
    return subprocess.run(
        [*words, "--env-file", str(file), "config", "--quiet"],
        cwd=ROOT, env={}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_docker_compose_accepts_the_file(tmp_path: Path) -> None:
    filled = {name: "x" for name, value in EXAMPLE.items() if not value}
    done = _configured(tmp_path, **filled)
    assert done.returncode == 0, done.stderr


def test_docker_compose_refuses_to_start_without_secrets(tmp_path: Path) -> None:
    done = _configured(tmp_path)
    assert done.returncode != 0
    assert ".env.example" in done.stderr


class TestMakeEnv:
    def test_it_fills_each_secret_and_nothing_else(self, tmp_path: Path) -> None:
        (tmp_path / ".env.example").write_text((ROOT / ".env.example").read_text())
        assert make_env.main(tmp_path) == 0
        file = tmp_path / ".env"
        assert file.stat().st_mode & 0o777 == 0o600
        made = dict(re.findall(r"^([A-Z_]+)=(.*)$", file.read_text(), re.MULTILINE))
        secret = {name for name, value in EXAMPLE.items() if not value} - {"CSRF_TRUSTED_ORIGINS"}
        assert {name for name in made if made[name] != EXAMPLE[name]} == secret
        assert len({made[name] for name in secret}) == len(secret)
        for name in secret:
            assert re.fullmatch(r"(admin:)?[\w-]{64}", made[name]), name

    def test_it_changes_no_file_that_is_there(self, tmp_path: Path) -> None:
        (tmp_path / ".env.example").write_text("SECRET_KEY=\n")
        (tmp_path / ".env").write_text("SECRET_KEY=mine\n")
        assert make_env.main(tmp_path) == 1
        assert (tmp_path / ".env").read_text() == "SECRET_KEY=mine\n"
