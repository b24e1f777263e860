"""Files on a disk and a service that fails, workers that are killed: all goes, nothing living does.

Meanwhile living users upload files, also under names of files that are being erased; their rows
follow a moment later. ERASED_FILES, ERASED_CALLS and ERASED_KILLS are the size of a run:
`ERASED_FILES=100000 ERASED_CALLS=1000 ERASED_KILLS=50 ./run test tests/chaos/test_erased_files.py`.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connections

from apps.integrity.contrib.erasure import FieldFiles, Webhook
from apps.integrity.models import Cascade, Deletion, Finding
from sandbox import project
from tests import erasure_service
from tests.acceptance import workers
from tests.kinds.filed.models import Attachment
from tests.kinds.parents.models import Sender

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.processes import Process
    from tests.conftest import Tune

FILES = int(os.environ.get("ERASED_FILES", "1200"))
CALLS = int(os.environ.get("ERASED_CALLS", "60"))
KILLS = int(os.environ.get("ERASED_KILLS", "8"))
EACH = 20
SHARED_EACH = 10
PLACES = ("test_left", "step:files", "step:crm")
#: An upload's row follows its file within this time, which is less than `grace_seconds`.
UPLOAD_SECONDS = 0.3
SECONDS = 120 + FILES / 40

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.timeout(SECONDS + 120)]


@dataclass
class Uploads:
    """Living users who upload files, some under names that become free."""

    storage: FileSystemStorage
    names: list[str]
    over: threading.Event = field(default_factory=threading.Event)
    made: int = 0
    reused: int = 0

    def run(self) -> None:
        chosen = random.Random(1)  # noqa: S311
        sender = Sender.objects.create()
        try:
            while not self.over.is_set():
                name = chosen.choice(self.names)
                saved = self.storage.save(name, ContentFile(b"living"))
                self.over.wait(chosen.uniform(0, UPLOAD_SECONDS))
                Attachment.objects.create(sender=sender, file=saved)
                self.made += 1
                self.reused += saved == name
        finally:
            connections.close_all()


@dataclass
class Crew:
    """Two workers, one of which is killed again and again."""

    folder: Path
    environment: dict[str, str]
    members: list[Process] = field(default_factory=list)
    kills: int = 0
    started: int = 0

    def start(self) -> None:
        self.started += 1
        name = f"worker-{self.started}"
        command = ("manage", "integrity", "drain", "--verify", "--skip-checks")
        process = project.process(self.folder, name, *command, env=self.environment)
        self.members.append(process.start())

    def restart(self) -> None:
        """Start again who has come to the end of the work, as a supervisor would."""
        for member in [each for each in self.members if not each.running]:
            self.members.remove(member)
            self.start()

    def kill_one(self) -> None:
        self.members.pop(0).kill()
        self.kills += 1
        self.start()


@pytest.fixture
def media(tmp_path: Path, settings: Any) -> Path:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


def populated(media: Path) -> tuple[list[Sender], list[str], set[str], set[int], set[int]]:
    """Senders who go, the names of their files, those that stay, and the ids of both."""
    gone, stays = [Sender.objects.create() for _ in range(FILES // EACH)], Sender.objects.create()
    old = time.time() - 3_600
    rows, living = [], []
    for number in range(FILES):
        name = f"{number}.txt"
        path = media / name
        path.write_bytes(b"text")
        os.utime(path, (old, old))
        rows.append(Attachment(sender=gone[number // EACH], file=name))
        if number % SHARED_EACH == 0:  # two rows, one file
            living.append(Attachment(sender=stays, file=name))
    Attachment.objects.bulk_create(rows, batch_size=2_000)
    Attachment.objects.bulk_create(living, batch_size=2_000)
    kept = {str(row.file) for row in living}
    ids, kept_ids = (
        {*rows_of.values_list("pk", flat=True)}
        for rows_of in (
            Attachment.objects.exclude(sender=stays),
            Attachment.objects.filter(sender=stays),
        )
    )
    return gone, [str(row.file) for row in rows], kept, ids, kept_ids


def test_all_goes_and_nothing_living_does(media: Path, tmp_path: Path, tune: Tune) -> None:
    gone, names, kept, ids, kept_ids = populated(media)
    with erasure_service.running() as service:
        service.held, service.fails_each = ids | kept_ids, 20
        given = {
            "databases": {a: str(connections[a].settings_dict["NAME"]) for a in connections},
            "media": str(media),
            "secret": erasure_service.SECRET,
            "url": service.url,
            "items_max": max(1, FILES // CALLS),
        }
        environment = {
            **workers.environment("tests.chaos.erased.settings"),
            "ERASED": json.dumps(given),
        }
        tune(steps={"files": steps_path(FieldFiles), "crm": (steps_path(Webhook), OPTIONS)})
        storage = FileSystemStorage(str(media))
        uploads = Uploads(storage, [name for name in names if name not in kept])
        thread = threading.Thread(target=uploads.run)
        crew = Crew(tmp_path, environment)
        keys = [sender.pk for sender in gone]
        begin = time.monotonic()
        Sender.objects.filter(pk__in=keys).delete()
        for _ in range(2):
            crew.start()
        thread.start()
        try:
            await_end(crew)
        finally:
            uploads.over.set()
            thread.join()
            for member in crew.members:
                member.kill()
        seconds = time.monotonic() - begin
        report(service, uploads, crew, seconds)
        living = {*Attachment.objects.values_list("file", flat=True)}
        present = {path.name for path in media.iterdir()}
        assert present - living == set(), "files of the deleted are left"
        assert living - present - {""} == set(), "files of living users are gone"
        assert kept <= present
        assert service.held == kept_ids
    assert Finding.objects.using("test_left").count() == 0
    for deletion in Deletion.objects.filter(key__in=[str(key) for key in keys]):
        found = {one.database: one.rows for one in deletion.databases}
        assert found["step:files"] == {"step:files": EACH}
        assert found["step:crm"] == {"step:crm": EACH}
        assert found["test_left"] == {"filed.Attachment.sender": EACH}


OPTIONS = {
    "url": "https://crm.example/",
    "secret_setting": "X",
    "models": {"filed.Attachment": "pk"},
}


def steps_path(step: type) -> str:
    return f"{step.__module__}.{step.__qualname__}"


def await_end(crew: Crew) -> None:
    """Kill workers until there were enough kills, and wait until everything is verified."""
    chosen, until = random.Random(2), time.monotonic() + SECONDS  # noqa: S311
    pause = min(3.0, max(0.4, FILES / 400 / KILLS))
    while time.monotonic() < until:
        time.sleep(chosen.uniform(0.5, 1.5) * pause if crew.kills < KILLS else 0.5)
        crew.restart()
        if crew.kills < KILLS:
            crew.kill_one()
        elif not (open_work := [*waiting()]):
            return
    raise AssertionError(f"not verified after {SECONDS:.0f} s: {open_work[:3]}")


def waiting() -> Iterator[str]:
    """What is not verified yet."""
    recorded = Deletion.objects.filter(batch=None).count()
    yield from [f"{recorded} recorded"] if recorded else []
    for one in Cascade.objects.exclude(state="verified"):
        yield f"{one.database}: {len(one.deletions)} {one.state}, {one.reason}"


def report(service: Any, uploads: Uploads, crew: Crew, seconds: float) -> None:
    print(  # noqa: T201 (what a run measured)
        f"{FILES} files, {len(service.calls)} calls of which {service.failed} failed,"
        f" {crew.kills} kills, {uploads.made} uploads of which {uploads.reused} reused a name,"
        f" {seconds:.0f} s"
    )
