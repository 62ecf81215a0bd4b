"""Each measured piece of work runs, in a process of its own, on small vectors of true names."""

from pathlib import Path

import pytest

from benchmarks.arithmetic_inputs import Inputs, write_inputs
from benchmarks.dense_deltas import Weights, relative_errors
from benchmarks.subprocesses import ours
from formats import architecture

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inputs:
    monkeypatch.chdir(ROOT)
    return write_inputs(tmp_path, architecture("sd15"), tiny=True)


def test_a_sum_is_written_timed_and_weighed(inputs: Inputs, tmp_path: Path) -> None:
    result = tmp_path / "result.safetensors"
    run = ours("compose", *inputs.ours(), "--out", result)
    terms = [(weight, Weights(path)) for weight, path in zip(inputs.weights, inputs.paths, strict=True)]
    errors = relative_errors(terms, {"ours": Weights(result)}, list(inputs.modules))
    assert errors["ours"] < 1e-6
    assert 0 < run["seconds"] < 60
    assert 0 < run["before_mib"] < run["peak_mib"]
