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
OURS = {name for name, service in SERVICES.items() if "build" in service}
WORKERS = {name for name in SERVICES if name.startswith("worker-")}
SECRET = re.compile(r"SECRET|PASSWORD|AUTH|_URL$")


def command(name: str) -> list[str]:
    words = SERVICES[name]["command"]
    assert isinstance(words, list)
    return words


def option(name: str, flag: str) -> str:
    words = command(name)
    return words[words.index(flag) + 1]


def test_the_services_are_those_of_the_system() -> None:
    databases = {"postgres-default", "postgres-blog", "postgres-shop"}
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


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_get_every_required_setting(name: str) -> None:
    assert SERVICES[name]["environment"].keys() >= REQUIRED


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_secrets_come_from_outside_and_stop_the_start_when_missing(name: str) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        if not SECRET.search(variable) or variable == "FLOWER_URL":
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
        assert command(name)[:3] == ["celery", "-A", "workers"]
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
    for name in OURS - {"migrate"}:
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
    script = command("redis")[-1]
    for line in (
        "user default off",
        "user app on >$$REDIS_PASSWORD ~* &* +@all -@admin -@dangerous",
        "appendonly yes",
        "maxmemory-policy noeviction",
    ):
        assert line in script.splitlines()
    assert "--requirepass" not in script


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
