from pathlib import Path
from typing import Any

import pytest

from arithmetic import ValidationRefused
from distill_jobs import Painter
from registry import Conflict, NotFound, Registry
from registry.jobs import Job, Queue
from workbench.jobs.kinds import JOB_KINDS
from workbench.jobs.queueing import queue_of
from workbench.sums.composing import compose
from workbench.sums.jobs import submit_composition
from workbench.sums.verifying import verify


@pytest.fixture
def pair(stocked: Registry, lora: Any, tmp_path: Path) -> Registry:
    """The style `soft` and another one, `hard`."""
    (tmp_path / "hard.safetensors").write_bytes(lora(7))
    stocked.add(tmp_path / "hard.safetensors", kind="style", name="hard")
    return stocked


def done(registry: Registry, job: Job) -> Job:
    """The job when a worker in this process has done it."""
    worker = Painter(registry, JOB_KINDS, name="bench", lease_seconds=60.0, lanes=("batch",))
    while worker.take_one():
        pass
    return Queue(registry).get(job.id)


def test_a_worker_writes_proves_and_registers_what_compose_would(pair: Registry) -> None:
    job = done(pair, submit_composition(pair, "0.8*soft + 0.5*hard | rank(3)", name="both", draft=True))
    assert (job.state, job.last_error, job.lane) == ("succeeded", None, "batch")
    version = pair.get((job.result or {})["version"])
    assert (version.ref, version.state, version.kind) == ("both:1", "draft", "composition")
    assert verify(pair, "both").worst_relative_error == (job.result or {})["worst_relative_error"]
    here = compose(pair, "0.8*soft:1 + 0.5*hard:1 | rank(3)", name="here")
    assert here.version is not None
    assert here.version.artifacts[0].sha256 == version.artifacts[0].sha256
    assert job.progress["step"] == job.progress["steps"] > 0


def test_the_layout_and_the_base_are_those_of_the_order(pair: Registry) -> None:
    job = done(pair, submit_composition(pair, "soft + hard", name="both", layout="diffusers", base="tiny"))
    version = pair.get((job.result or {})["version"])
    assert version.facts is not None
    assert version.facts["layout"]["value"] == "diffusers"
    assert {edge.parent for edge in pair.lineage("both").edges if edge.relation == "adapter_of"} == {"tiny:1"}


def test_without_a_name_it_gets_those_of_its_terms(pair: Registry) -> None:
    assert submit_composition(pair, "soft + hard").spec["name"] == "soft-hard"


def test_names_mean_what_they_meant_when_it_was_ordered(pair: Registry, lora: Any, tmp_path: Path) -> None:
    pair.alias("soft:1", "production")
    job = submit_composition(pair, "soft@production + hard", name="both")
    (tmp_path / "new.safetensors").write_bytes(lora(8))
    pair.add(tmp_path / "new.safetensors", kind="style", name="soft")
    pair.alias("soft:2", "production")
    assert done(pair, job).state == "succeeded"
    parents = {edge.parent for edge in pair.lineage("both").edges if edge.relation == "composed_from"}
    assert parents == {"soft:1", "hard:1"}


def test_the_same_order_again_is_the_same_job(pair: Registry) -> None:
    first, again, other = (submit_composition(pair, "soft + hard", name=name) for name in ("a", "a", "b"))
    assert (first.id == again.id, first.id == other.id) == (True, False)


def test_what_is_known_to_be_wrong_is_refused_before_it_is_queued(pair: Registry) -> None:
    with pytest.raises(NotFound):
        submit_composition(pair, "soft + nothing")
    with pytest.raises(Conflict, match="of kind style"):
        submit_composition(pair, "soft + hard", name="soft")
    with pytest.raises(ValidationRefused):
        submit_composition(pair, "soft - soft")
    assert queue_of(pair).list() == []


def test_a_spec_of_other_keys_is_refused(pair: Registry) -> None:
    spec = submit_composition(pair, "soft", name="one").spec
    job = done(pair, Queue(pair).submit("compose", {**spec, "colour": "red"}))
    assert job.state == "failed"
    assert "expected recipe, base, name, layout, draft" in (job.last_error or "")
