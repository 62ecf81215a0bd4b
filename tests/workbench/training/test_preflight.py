"""The pre-flight of a training through a painter, and the training that is started after it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill_jobs import Painter
from registry.jobs import Job
from workbench.errors import ForbiddenPath, InvalidAddress, InvalidSettings, NotInspected
from workbench.jobs.kinds import JOB_KINDS
from workbench.jobs.queueing import queue_of
from workbench.training.preflight import pictures_of, start_inspected, submit_preflight


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four small pictures with captions."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "circles"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(generator.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("a large red circle", encoding="utf-8")
    return folder


def inspected(gallery: Any, kind: str, **order: Any) -> Job:
    """The pre-flight of that order when a painter has done it."""
    job = submit_preflight(gallery.registry, kind, base="shapes", **order)
    painter = Painter(gallery.registry, JOB_KINDS, name="studio", lease_seconds=60.0)
    while painter.take_one():
        pass
    return queue_of(gallery.registry).get(job.id)


def test_a_training_is_started_as_it_was_inspected(gallery: Any, data: Path) -> None:
    order = {"data": str(data), "name": "circles", "steps": 3, "batch": 2, "needs_memory": "1G"}
    seen = inspected(gallery, "style", **order)
    assert seen.result is not None, seen.last_error
    assert seen.result["ok"]
    assert seen.result["sentence"].startswith("about")
    started = start_inspected(gallery.registry, seen.id)
    assert (started.kind, started.lane, started.spec) == ("style", "batch", seen.result["spec"])
    assert started.needs_memory == 1 << 30
    assert (started.spec["steps"], started.spec["base"]) == (3, "shapes:1")
    assert start_inspected(gallery.registry, seen.id).id == started.id


def test_what_would_go_wrong_is_found_and_not_started(gallery: Any, data: Path) -> None:
    seen = inspected(gallery, "lcd-lora", data=str(data), name="fast", batch=2, trajectories=10**10)
    assert seen.result is not None, seen.last_error
    assert json.dumps(seen.result["findings"]).count("disk") >= 1
    with pytest.raises(NotInspected, match="Mend it and check again"):
        start_inspected(gallery.registry, seen.id)


def test_what_the_order_would_be_refused_for_fails_the_pre_flight(gallery: Any, data: Path) -> None:
    seen = inspected(gallery, "style", data=str(data), name="circles", rnak=3)
    assert seen.state == "failed"
    assert "rnak" in str(seen.last_error)
    with pytest.raises(NotInspected, match="failed"):
        start_inspected(gallery.registry, seen.id)


def test_an_order_that_is_no_json_is_refused_at_once(gallery: Any) -> None:
    with pytest.raises(InvalidSettings, match="numbers, texts and lists"):
        submit_preflight(gallery.registry, "style", base="shapes", learning_rate=float("nan"))


def test_pages_train_on_open_folders_and_data_sets_of_the_hub(data: Path) -> None:
    (data.parent / "link").symlink_to(data)
    assert pictures_of("style", f" {data}/../link ", (data,)) == str(data)
    assert pictures_of("style", f"{data}/{{000..012}}.tar", (data,)) == f"{data}/{{000..012}}.tar"
    assert pictures_of("style", "hf://datasets/owner/name", ()) == "hf://datasets/owner/name"


@pytest.mark.parametrize("escape", ["", "/..", "/../other", "/link", "/{a,link}/b.tar", "/{..,a}/b.tar"])
def test_pages_train_on_nothing_else_of_this_machine(data: Path, escape: str) -> None:
    inside = data / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(data)
    with pytest.raises(ForbiddenPath, match=r"tau distill lcd --data .*TAU_IMPORT_ROOTS="):
        pictures_of("lcd", f"{inside}{escape}" if escape else str(data), (inside,))


def test_an_address_of_the_hub_that_is_no_data_set_is_refused() -> None:
    with pytest.raises(InvalidAddress, match="hf://datasets/OWNER/NAME"):
        pictures_of("style", "hf://owner/name", ())


def test_a_link_that_is_put_in_the_way_of_the_pictures_is_noticed(gallery: Any, data: Path) -> None:
    moved = data.rename(data.parent / "moved")
    data.symlink_to(moved)
    seen = inspected(gallery, "style", data=str(data), name="circles", steps=3, batch=2)
    assert seen.state in ("failed", "dead")
    assert "leads elsewhere since it was allowed" in str(seen.last_error)
