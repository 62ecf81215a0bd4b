import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry import NotFound, Registry
from registry.jobs import Queue

pytestmark = pytest.mark.both_databases

Write = Callable[..., Path]

ADD = """
import sys
from pathlib import Path
from registry import Registry

with Registry.open(Path(sys.argv[1]), sys.argv[2]) as registry:
    for path in map(Path, sys.argv[3:]):
        print(registry.add(path, kind="other", name="note").number)
"""


def _write_notes(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.txt" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(f"note {number}")
    return paths


def test_fifty_parallel_registrations_give_fifty_numbers_without_gap_or_repeat(
    registry: Registry, tmp_path: Path
) -> None:
    def add(path: Path) -> int:
        with Registry.open(registry.home, registry.url) as own:
            return own.add(path, kind="other", name="note").number

    with ThreadPoolExecutor(50) as pool:
        numbers = list(pool.map(add, _write_notes(tmp_path, 50)))
    assert sorted(numbers) == list(range(1, 51))
    by_age = [event.after["digest"] for event in registry.history("note") if event.action == "added"]
    assert by_age == [registry.get(f"note:{number}").digest for number in range(1, 51)]


def test_fifty_who_share_one_registry_do_the_same(registry: Registry, tmp_path: Path) -> None:
    def add(path: Path) -> int:
        return registry.add(path, kind="other", name="note").number

    with ThreadPoolExecutor(50) as pool:
        numbers = list(pool.map(add, _write_notes(tmp_path, 50)))
    assert sorted(numbers) == list(range(1, 51))


def test_registrations_from_several_processes_do_the_same(registry: Registry, tmp_path: Path) -> None:
    paths = [str(path) for path in _write_notes(tmp_path, 9)]
    command = [sys.executable, "-c", ADD, str(registry.home), registry.url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([*command, *paths[start::3]], stdout=subprocess.PIPE, text=True, env=environment)
        for start in range(3)
    ]
    numbers = [int(line) for worker in workers for line in worker.communicate()[0].split()]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(numbers) == list(range(1, 10))


def test_the_same_bytes_added_by_many_at_once_are_one_version_and_one_blob(registry: Registry, tmp_path: Path) -> None:
    path = _write_notes(tmp_path, 1)[0]

    def add(_: int) -> str:
        with Registry.open(registry.home, registry.url) as own:
            return own.add(path, kind="other", name="note").ref

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(add, range(8))) == {"note:1"}
    assert len([file for file in registry.store.folder.rglob("*") if file.is_file()]) == 1


def test_a_refused_registration_uses_up_no_number(registry: Registry, tmp_path: Path) -> None:
    paths = _write_notes(tmp_path, 3)
    registry.add(paths[0], kind="other", name="note")
    with pytest.raises(NotFound, match="no recipe"):
        registry.add(paths[1], kind="other", name="note", recipe="0" * 64)
    assert registry.add(paths[2], kind="other", name="note").number == 2


def test_many_workers_never_claim_one_job_twice(registry: Registry, queue: Queue) -> None:
    jobs = [queue.submit("x", {"number": number}).id for number in range(12)]

    def work(worker: int) -> list[int]:
        with Registry.open(registry.home, registry.url) as own:
            mine = Queue(own)
            leases = iter(lambda: mine.claim(f"worker {worker}"), None)
            return [mine.finish(lease, {}).id for lease in leases]

    with ThreadPoolExecutor(6) as pool:
        done = [job for part in pool.map(work, range(6)) for job in part]
    assert sorted(done) == jobs
