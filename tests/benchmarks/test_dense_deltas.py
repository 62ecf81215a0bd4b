"""The float64 truth that results are compared with agrees with the engine, and knows a bad answer."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from arithmetic import open_vector
from benchmarks.arithmetic_inputs import Inputs, write_inputs
from benchmarks.dense_deltas import Weights, excess_errors, intended, relative_errors, stacked
from formats import architecture

Terms = list[tuple[float, Weights]]


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return write_inputs(tmp_path, architecture("sd15"), tiny=True)


@pytest.fixture
def terms(inputs: Inputs) -> Terms:
    return [(weight, Weights(path)) for weight, path in zip(inputs.weights, inputs.paths, strict=True)]


def dense_file(path: Path, deltas: dict[str, np.ndarray]) -> Weights:
    save_file({f"{module}.weight": np.ascontiguousarray(delta) for module, delta in deltas.items()}, path)
    return Weights(path)


def test_a_delta_is_the_one_that_the_engine_reads(inputs: Inputs) -> None:
    vector = open_vector(inputs.paths[1], architecture("sd15"))
    for module in inputs.modules:
        np.testing.assert_allclose(
            Weights(inputs.paths[1]).delta(module), vector.factors(module).dense().numpy(), rtol=1e-12, atol=1e-15
        )


def test_an_exact_answer_has_no_error_and_half_of_it_half(tmp_path: Path, inputs: Inputs, terms: Terms) -> None:
    truth = {module: intended(terms, module) for module in inputs.modules}
    results = {
        "exact": dense_file(tmp_path / "exact", truth),
        "half": dense_file(tmp_path / "half", {module: delta / 2 for module, delta in truth.items()}),
    }
    assert relative_errors(terms, results, list(inputs.modules)) == pytest.approx(
        {"exact": 0.0, "half": 0.5}, abs=1e-12
    )


def test_the_optimum_has_no_excess_and_another_answer_of_that_rank_has(
    tmp_path: Path, inputs: Inputs, terms: Terms
) -> None:
    modules = [module for module in inputs.modules if ".attn1." in module]
    best, first = {}, {}
    for module in modules:
        u, s, vh = np.linalg.svd(intended(terms, module), full_matrices=False)
        best[module] = u[:, :4] * s[:4] @ vh[:4]
        b, a = stacked(terms, module)
        first[module] = b[:, :4] @ a[:4]
    results = {"best": dense_file(tmp_path / "best", best), "first": dense_file(tmp_path / "first", first)}
    found = excess_errors(terms, results, modules, 4)
    assert found["best"]["excess"] == pytest.approx(0.0, abs=1e-9)
    assert found["first"]["excess"] > 0.01
    assert found["first"]["error"] > found["best"]["error"] > 0.1
