from pathlib import Path

import pytest

from benchmarks.job_queue import Load, Place, measure, print_table, waited
from benchmarks.queue_soak import wrong
from registry import Registry
from registry.jobs import Queue


def test_a_small_load_is_carried_to_its_end_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path / "home", f"sqlite:///{tmp_path / 'queue.db'}")
    load = Load(heap=6, submitted=4, per_second=50.0)
    row = measure(place, 2, load)
    with Registry.open(place.home, place.url) as registry:
        queue = Queue(registry)
        assert (queue.count(state="succeeded"), queue.count()) == (10, 10)
        assert row["submit_to_start_seconds"]["max"] >= max(waited(queue.get(job)) for job in range(7, 11)) - 0.005
    assert min(row["claims_per_second"], row["ends_per_second"]) > 0
    print_table({"load": vars(load), "machine": "here", "figures": [row | {"claims_per_second": 9.0}]})
    print_table({"load": vars(load), "machine": "here", "figures": [row | {"database": "postgresql"}]})
    assert "| sqlite | 2 | 9 |" in capsys.readouterr().out


def test_a_queue_that_is_in_use_is_not_measured(tmp_path: Path) -> None:
    place = Place(tmp_path / "home", f"sqlite:///{tmp_path / 'queue.db'}")
    with Registry.open(place.home, place.url) as registry:
        Queue(registry).submit("x", {})
    with pytest.raises(SystemExit, match="has jobs to do"):
        measure(place, 1, Load(1, 1, 1.0))


def test_what_went_wrong_is_told_job_by_job(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "home") as registry:
        queue = Queue(registry)
        lost, empty = queue.submit("x", {}), queue.submit("x", {})
        queue.cancel(lost.id)
        lease = queue.claim("worker")
        assert lease is not None
        queue.finish(lease, {})
        (tmp_path / "note.txt").write_text("nobody's")
        found = wrong(registry, [lost.id, empty.id]) if registry.add(tmp_path / "note.txt", kind="other") else ()
    assert f"job {lost.id} is cancelled and was finished 0 times" in found
    assert f"job {empty.id} made no version" in found
    assert "there are 1 versions of 2 jobs" in found
